//! imgproxy's options. Some of them say what others mean, so that all are read before they become ours.

use super::super::{
    MAX_SIDE, ParamError,
    presets::{PRESET, Pairs},
    values::{integer, refused},
};
use super::{around_one, clockwise, scaled, set, unknown, unset};

#[derive(Default)]
pub(super) struct Given {
    pairs: Pairs,
    kind: Option<Kind>,
    enlarge: Option<bool>,
    extend: bool,
    /// Around the finished picture, where ours is within the box.
    padding: Option<u32>,
    /// Left and right, top and bottom; after the turn, where ours comes before it.
    flip: (bool, bool),
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Fit,
    Fill,
    FillDown,
    Force,
    Auto,
}

impl Given {
    pub(super) fn read(&mut self, name: &str, arguments: &[&str]) -> Result<(), ParamError> {
        let pairs = &mut self.pairs;
        let argument = |index: usize| arguments.get(index).copied().filter(|argument| !argument.is_empty());
        let first = argument(0).unwrap_or("");
        match name {
            "resize" | "rs" => {
                if let Some(kind) = argument(0) {
                    self.read("rt", &[kind])?;
                }
                self.read("s", arguments.get(1..).unwrap_or(&[]))?;
            }
            "size" | "s" => {
                for (index, name) in ["w", "h", "el"].into_iter().enumerate() {
                    if let Some(argument) = argument(index) {
                        self.read(name, &[argument])?;
                    }
                }
                if argument(3).is_some() {
                    self.read("ex", &arguments[3..])?;
                }
            }
            "resizing_type" | "rt" => {
                self.kind = Some(match first {
                    "" | "fit" => Kind::Fit,
                    "fill" => Kind::Fill,
                    "fill-down" => Kind::FillDown,
                    "force" => Kind::Force,
                    "auto" => Kind::Auto,
                    other => {
                        let rule = "must be one of fit, fill, fill-down, force, auto";
                        return Err(refused("fit", rule, other));
                    }
                });
            }
            // Zero: follows from the other side.
            "width" | "w" | "height" | "h" => {
                let name = if name.starts_with('w') { "w" } else { "h" };
                match first {
                    "" | "0" => unset(pairs, name),
                    side => set(pairs, name, side.to_owned()),
                }
            }
            "enlarge" | "el" => self.enlarge = Some(is_true(first)),
            "extend" | "ex" => {
                if !matches!(arguments.get(1..).unwrap_or(&[]), [] | ["ce"] | ["ce", "0", "0"]) {
                    return Err(refused("extend", "must be in the middle", &arguments.join(":")));
                }
                self.extend = is_true(first);
            }
            "dpr" => set(pairs, "dpr", first.to_owned()),
            "quality" | "q" if first == "0" => {}
            "quality" | "q" => set(pairs, "q", first.to_owned()),
            "format" | "f" | "ext" => set(pairs, "fm", first.to_owned()),
            "gravity" | "g" => gravity(arguments, pairs)?,
            "rotate" | "rot" => set(pairs, "rot", clockwise(first)?),
            "flip" | "fl" => self.flip = (is_true(first), argument(1).is_some_and(is_true)),
            "blur" | "bl" => set(pairs, "blur", scaled("blur", first, 20.0)?),
            "sharpen" | "sh" => set(pairs, "sharp", scaled("sharp", first, 50.0)?),
            "brightness" | "br" => set(pairs, "bri", scaled("bri", first, 100.0 / 255.0)?),
            "contrast" | "co" => set(pairs, "con", around_one("con", first)?),
            "saturation" | "sa" => set(pairs, "sat", around_one("sat", first)?),
            "background" | "bg" => match arguments {
                [r, g, b] => {
                    let byte = |text: &str| integer("bg", text, 0, 255);
                    let [r, g, b] = [byte(r)?, byte(g)?, byte(b)?];
                    set(pairs, "bg", format!("{r:02x}{g:02x}{b:02x}"));
                }
                _ => set(pairs, "bg", first.to_owned()),
            },
            "padding" | "pd" => {
                if arguments.iter().any(|side| !side.is_empty() && *side != first) {
                    return Err(refused("pad", "must be the same on all sides", &arguments.join(":")));
                }
                self.padding = Some(integer("pad", first, 0, MAX_SIDE / 4)?);
            }
            "trim" | "t" => {
                if arguments.get(1..).unwrap_or(&[]).iter().any(|argument| !argument.is_empty()) {
                    return Err(refused("trim", "must be a threshold alone", &arguments.join(":")));
                }
                set(pairs, "trim", "auto");
                unset(pairs, "trim-tol");
                if !first.is_empty() {
                    // Of 255.
                    set(pairs, "trim-tol", scaled("trim-tol", first, 100.0 / 255.0)?);
                }
            }
            "preset" | "pr" => set(pairs, PRESET, arguments.join(",")),
            "auto_rotate" | "ar" if !is_true(first) => set(pairs, "orient", "0"),
            // Pictures are turned upright and metadata goes anyway. When the address ends being good is judged with its signature.
            "auto_rotate"
            | "ar"
            | "strip_metadata"
            | "sm"
            | "cachebuster"
            | "cb"
            | "expires"
            | "exp"
            | "strip_color_profile"
            | "scp" => {}
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    pub(super) fn into_pairs(mut self) -> Result<Pairs, ParamError> {
        self.set_fit()?;
        let pairs = &mut self.pairs;
        let is_on_its_side =
            pairs.iter().any(|(name, turn)| name == "rot" && matches!(&**turn, "90" | "270"));
        let (across, down) = self.flip;
        let (across, down) = if is_on_its_side { (down, across) } else { (across, down) };
        if across || down {
            let sides = [("h", across), ("v", down)].into_iter().filter(|(_, flipped)| *flipped);
            set(pairs, "flip", sides.map(|(side, _)| side).collect::<String>());
        }
        if let Some(padding) = self.padding {
            set(pairs, "pad", padding.to_string());
            for (name, side) in pairs.iter_mut().filter(|(name, _)| matches!(&**name, "w" | "h")) {
                // What is no number is refused in its turn.
                if let Ok(inner) = integer("", side, 1, MAX_SIDE) {
                    let outer = inner + 2 * padding;
                    if outer > MAX_SIDE {
                        let problem = format!("makes `{name}` larger than {MAX_SIDE}");
                        return Err(ParamError { parameter: "pad", problem });
                    }
                    *side = outer.to_string().into();
                }
            }
        }
        Ok(self.pairs)
    }

    fn set_fit(&mut self) -> Result<(), ParamError> {
        let enlarge = self.enlarge.unwrap_or(false);
        let fills = matches!(self.kind, Some(Kind::Fill | Kind::FillDown | Kind::Force));
        // Of what fills the box in any case nothing is left to extend.
        let fit = match (self.kind, self.extend && !(fills && enlarge)) {
            (None, false) => None,
            (None | Some(Kind::Fit), true) => Some("fill"),
            (Some(_), true) => {
                return Err(refused("extend", "must go with `fit`, or beside `enlarge` with another", "1"));
            }
            (Some(Kind::Fit), _) => Some("clip"),
            (Some(Kind::FillDown), _) if !enlarge => Some("min"),
            (Some(Kind::Fill | Kind::FillDown), _) => Some("crop"),
            (Some(Kind::Force), _) => Some("scale"),
            (Some(Kind::Auto), _) => Some("auto"),
        };
        if let Some(fit) = fit {
            set(&mut self.pairs, "fit", fit);
        }
        // Else `fill` and `force` are as our own words are, so that all dialects have one key; and what a preset may say stays.
        if self.enlarge.is_some() {
            set(&mut self.pairs, "enlarge", if enlarge { "1" } else { "0" });
        }
        Ok(())
    }
}

/// Offsets from the sides are not made, but may be said to be none.
fn gravity(arguments: &[&str], pairs: &mut Pairs) -> Result<(), ParamError> {
    let place = match arguments {
        ["fp", x, y] => {
            unset(pairs, "crop");
            set(pairs, "fp-x", (*x).to_owned());
            set(pairs, "fp-y", (*y).to_owned());
            return Ok(());
        }
        [place] | [place, "0", "0"] => *place,
        _ => "",
    };
    let sides = match place {
        "ce" => "center",
        "sm" => "attention",
        "no" => "top",
        "so" => "bottom",
        "ea" => "right",
        "we" => "left",
        "noea" => "top,right",
        "nowe" => "top,left",
        "soea" => "bottom,right",
        "sowe" => "bottom,left",
        _ => {
            let rule = "must be ce, sm, no, so, ea, we, noea, nowe, soea, sowe or fp:x:y";
            return Err(refused("crop", rule, &arguments.join(":")));
        }
    };
    unset(pairs, "fp-x");
    unset(pairs, "fp-y");
    set(pairs, "crop", sides);
    Ok(())
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "true")
}
