//! Other ways to write an operation: the options of Cloudflare's `/cdn-cgi/image/` paths and of imgproxy's. Each becomes
//! the pairs of our own query, so that there is one reading of values and one key.

use std::borrow::Cow;

use super::{
    ParamError, Params, Presets,
    presets::{PRESET, Pairs},
    values::{integer, number, refused},
};

/// Longer lists of options are refused.
const MAX_OPTIONS: usize = 64;

impl Params {
    /// From `width=320,fit=cover,format=auto`.
    pub fn parse_cdn_cgi(options: &str, presets: &Presets) -> Result<Self, ParamError> {
        let mut pairs = Pairs::new();
        for option in bounded(options.split(','))? {
            let (name, value) = option.split_once('=').ok_or_else(|| unknown(option))?;
            cdn_cgi(name, value, &mut pairs)?;
        }
        Ok(Self::read(&pairs, presets)?.unwrap_or_default())
    }

    /// From `rs:fill:320:240/g:sm/q:70`; `extension` is what follows the source after an `@`.
    pub fn parse_imgproxy(
        options: &str,
        extension: Option<&str>,
        presets: &Presets,
    ) -> Result<Self, ParamError> {
        let mut pairs = Pairs::new();
        for option in bounded(options.split('/').filter(|option| !option.is_empty()))? {
            let mut parts = option.split(':');
            let name = parts.next().unwrap_or("");
            imgproxy(name, &parts.collect::<Vec<_>>(), &mut pairs)?;
        }
        if let Some(extension) = extension {
            set(&mut pairs, "fm", extension.to_owned());
        }
        Ok(Self::read(&pairs, presets)?.unwrap_or_default())
    }
}

fn bounded<'a>(options: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, ParamError> {
    let options: Vec<_> = options.take(MAX_OPTIONS + 1).collect();
    if options.len() > MAX_OPTIONS {
        let problem = format!("are more than {MAX_OPTIONS}");
        return Err(ParamError { parameter: "options", problem });
    }
    Ok(options)
}

fn unknown(option: &str) -> ParamError {
    refused("options", "must be known ones", option)
}

/// The later of two counts, as in both dialects.
fn set(pairs: &mut Pairs, name: &'static str, value: impl Into<Cow<'static, str>>) {
    pairs.retain(|(known, _)| known != name);
    pairs.push((name.into(), value.into()));
}

fn cdn_cgi(name: &str, value: &str, pairs: &mut Pairs) -> Result<(), ParamError> {
    match name {
        "width" | "w" => set(pairs, "w", value.to_owned()),
        "height" | "h" => set(pairs, "h", value.to_owned()),
        "dpr" => set(pairs, "dpr", value.to_owned()),
        "quality" | "q" => set(pairs, "q", value.to_owned()),
        "flip" => set(pairs, "flip", value.to_owned()),
        "fit" => {
            let fit = match value {
                "scale-down" | "contain" => "clip",
                "cover" | "crop" => "crop",
                "pad" => "fill",
                "squeeze" => "scale",
                other => {
                    return Err(refused(
                        "fit",
                        "must be one of scale-down, contain, cover, crop, pad, squeeze",
                        other,
                    ));
                }
            };
            set(pairs, "fit", fit);
        }
        "gravity" | "g" => match value.split_once('x') {
            Some((x, y)) => {
                set(pairs, "fp-x", x.to_owned());
                set(pairs, "fp-y", y.to_owned());
            }
            None if value == "auto" => set(pairs, "crop", "attention"),
            None => set(pairs, "crop", value.to_owned()),
        },
        "format" | "f" => match value {
            "auto" => set(pairs, "auto", "format"),
            "baseline-jpeg" => set(pairs, "fm", "jpg"),
            other => set(pairs, "fm", other.to_owned()),
        },
        "rotate" => set(pairs, "rot", clockwise(value)?),
        "background" => set(pairs, "bg", value.trim_start_matches('#').to_owned()),
        // A radius of 1 to 250 pixels; a bell's is about two standard deviations.
        "blur" => set(pairs, "blur", scaled("blur", value, 10.0)?),
        "sharpen" => set(pairs, "sharp", scaled("sharp", value, 10.0)?),
        "brightness" => set(pairs, "bri", around_one("bri", value)?),
        "contrast" => set(pairs, "con", around_one("con", value)?),
        "saturation" => set(pairs, "sat", around_one("sat", value)?),
        "trim" if value == "border" => set(pairs, "trim", "auto"),
        "preset" => set(pairs, PRESET, value.to_owned()),
        "metadata" if value == "copyright" => set(pairs, "keep", "copyright"),
        // Of what the camera noted all but the place.
        "metadata" if value == "keep" => set(pairs, "keep", "exif"),
        "anim" if value == "false" => set(pairs, "frame", "1"),
        // Metadata goes unless asked for, animations stay, and errors are told.
        "metadata" | "anim" | "onerror" => {}
        _ => return Err(unknown(name)),
    }
    Ok(())
}

fn imgproxy(name: &str, arguments: &[&str], pairs: &mut Pairs) -> Result<(), ParamError> {
    let argument = |index: usize| arguments.get(index).copied().filter(|argument| !argument.is_empty());
    let first = argument(0).unwrap_or("");
    match name {
        "resize" | "rs" => {
            imgproxy("rt", arguments.get(..1).unwrap_or(&[]), pairs)?;
            imgproxy("s", arguments.get(1..).unwrap_or(&[]), pairs)?;
        }
        "size" | "s" => {
            imgproxy("w", arguments.get(..1).unwrap_or(&[]), pairs)?;
            imgproxy("h", arguments.get(1..2).unwrap_or(&[]), pairs)?;
        }
        "resizing_type" | "rt" => {
            let fit = match first {
                "" | "fit" => "clip",
                "fill" | "fill-down" | "auto" => "crop",
                "force" => "scale",
                other => {
                    return Err(refused("fit", "must be one of fit, fill, fill-down, force, auto", other));
                }
            };
            set(pairs, "fit", fit);
        }
        // Zero: follows from the other side.
        "width" | "w" | "height" | "h" => {
            let name = if name.starts_with('w') { "w" } else { "h" };
            match first {
                "" | "0" => pairs.retain(|(known, _)| known != name),
                side => set(pairs, name, side.to_owned()),
            }
        }
        "dpr" => set(pairs, "dpr", first.to_owned()),
        "quality" | "q" if first == "0" => {}
        "quality" | "q" => set(pairs, "q", first.to_owned()),
        "format" | "f" | "ext" => set(pairs, "fm", first.to_owned()),
        "gravity" | "g" => imgproxy_gravity(arguments, pairs)?,
        "rotate" | "rot" => set(pairs, "rot", clockwise(first)?),
        "flip" | "fl" => {
            let [h, v] = [0, 1].map(|index| argument(index).is_some_and(is_true));
            pairs.retain(|(known, _)| known != "flip");
            if h || v {
                set(pairs, "flip", format!("{}{}", if h { "h" } else { "" }, if v { "v" } else { "" }));
            }
        }
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
            set(pairs, "pad", first.to_owned());
        }
        "trim" | "t" => {
            set(pairs, "trim", "auto");
            if !first.is_empty() {
                set(pairs, "trim-tol", scaled("trim-tol", first, 1.0)?);
            }
        }
        "preset" | "pr" => set(pairs, PRESET, arguments.join(",")),
        "extend" | "ex" if is_true(first) => set(pairs, "fit", "fill"),
        "auto_rotate" | "ar" if !is_true(first) => set(pairs, "orient", "0"),
        // Pictures are turned upright, metadata goes, and nothing is enlarged but by `fill` and `force`. When the address
        // ends being good is judged with its signature.
        "extend"
        | "ex"
        | "auto_rotate"
        | "ar"
        | "enlarge"
        | "el"
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

fn imgproxy_gravity(arguments: &[&str], pairs: &mut Pairs) -> Result<(), ParamError> {
    let sides = match arguments {
        ["fp", x, y] => {
            set(pairs, "fp-x", (*x).to_owned());
            set(pairs, "fp-y", (*y).to_owned());
            return Ok(());
        }
        ["ce"] => "center",
        ["sm"] => "attention",
        ["no"] => "top",
        ["so"] => "bottom",
        ["ea"] => "right",
        ["we"] => "left",
        ["noea"] => "top,right",
        ["nowe"] => "top,left",
        ["soea"] => "bottom,right",
        ["sowe"] => "bottom,left",
        other => {
            let rule = "must be ce, sm, no, so, ea, we, noea, nowe, soea, sowe or fp:x:y";
            return Err(refused("crop", rule, &other.join(":")));
        }
    };
    set(pairs, "crop", sides);
    Ok(())
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "true")
}

/// Ours turns the other way.
fn clockwise(text: &str) -> Result<&'static str, ParamError> {
    match text {
        "0" => Ok("0"),
        "90" => Ok("270"),
        "180" => Ok("180"),
        "270" => Ok("90"),
        _ => Err(refused("rot", "must be 0, 90, 180 or 270", text)),
    }
}

/// A number in other units than ours, rounded.
fn scaled(parameter: &'static str, text: &str, factor: f64) -> Result<String, ParamError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let value = number(parameter, digits, 0.0, 10_000.0)?;
    let sign = if digits.len() < text.len() { -1.0 } else { 1.0 };
    Ok(format!("{}", (value * sign * factor).round() as i64))
}

/// A factor where 1 changes nothing, as percent more or less.
fn around_one(parameter: &'static str, text: &str) -> Result<String, ParamError> {
    let value = number(parameter, text, 0.0, 2.0)?;
    Ok(format!("{}", ((value - 1.0) * 100.0).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Params {
        let pairs: Vec<_> = url::form_urlencoded::parse(text.as_bytes()).collect();
        Params::parse(&pairs).unwrap().unwrap()
    }

    #[test]
    fn three_ways_to_write_the_same() {
        let none = Presets::default();
        for (ours, cdn_cgi, imgproxy) in [
            ("w=320", "width=320", "w:320"),
            ("w=320&h=240&fit=crop", "width=320,height=240,fit=cover", "rs:fill:320:240"),
            (
                "w=320&h=240&fit=crop&crop=attention&q=70",
                "w=320,h=240,fit=crop,g=auto,q=70",
                "rs:fill:320:240/g:sm/q:70",
            ),
            (
                "w=9&h=9&fit=crop&fp-x=0.2&fp-y=0.7",
                "w=9,h=9,fit=cover,gravity=0.2x0.7",
                "rs:fill:9:9/g:fp:0.2:0.7",
            ),
            ("w=9&h=9&fit=crop&crop=top,right", "", "s:9:9/rt:fill/g:noea"),
            ("w=300&h=200&fit=scale&fm=png", "w=300,h=200,fit=squeeze,f=png", "rs:force:300:200/f:png"),
            (
                "w=300&h=200&fit=fill&bg=ff0080",
                "w=300,h=200,fit=pad,background=#ff0080",
                "s:300:200/ex:1/bg:255:0:128",
            ),
            ("rot=270&flip=hv", "rotate=90,flip=hv", "rot:90/fl:1:1"),
            (
                "blur=60&sharp=50&bri=20&con=-50&sat=100",
                "blur=6,sharpen=5,brightness=1.2,contrast=0.5,saturation=2",
                "bl:3/sh:1/br:51/co:0.5/sa:2",
            ),
            ("h=100&dpr=2&fm=jpg", "height=100,dpr=2,format=baseline-jpeg", "h:100/dpr:2/f:jpg"),
            ("pad=10&trim=auto&trim-tol=5", "", "pd:10:10/t:5"),
            ("fm=webp", "metadata=none,anim=true", "sm:1/cb:abc/rs:fit:0:0"),
        ] {
            let expected = query(ours).canonical();
            if !cdn_cgi.is_empty() {
                assert_eq!(Params::parse_cdn_cgi(cdn_cgi, &none).unwrap().canonical(), expected, "{cdn_cgi}");
            }
            assert_eq!(
                Params::parse_imgproxy(imgproxy, None, &none).unwrap().canonical(),
                expected,
                "{imgproxy}"
            );
        }
        assert!(Params::parse_cdn_cgi("w=1,format=auto", &none).unwrap().negotiates());
        for (ours, cdn_cgi) in [
            ("keep=copyright&frame=1", "metadata=copyright,anim=false"),
            ("keep=exif&fm=jpg", "metadata=keep,format=jpeg"),
            ("fm=json", "format=json"),
        ] {
            assert_eq!(Params::parse_cdn_cgi(cdn_cgi, &none).unwrap(), query(ours), "{cdn_cgi}");
        }
        assert_eq!(Params::parse_imgproxy("w:5", Some("png"), &none).unwrap(), query("w=5&fm=png"));
    }

    #[test]
    fn presets_have_names_in_each() {
        let mut presets = Presets::default();
        presets.add("thumb", "w=5&q=50").unwrap();
        presets.add("wide", "w=9").unwrap();
        let expected = query("w=9&q=50&fm=png");
        assert_eq!(Params::parse_cdn_cgi("preset=thumb,width=9,format=png", &presets).unwrap(), expected);
        assert_eq!(Params::parse_imgproxy("pr:thumb:wide", Some("png"), &presets).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let none = Presets::default();
        for (options, part) in [
            ("width=0", "`w`"),
            ("width", "`width`"),
            ("fit=stretch", "`fit`"),
            ("format=exe", "`fm`"),
            ("rotate=45", "`rot`"),
            ("brightness=3", "`bri`"),
            ("blur=x", "`blur`"),
            ("draw=logo", "`draw`"),
            ("", "options"),
        ] {
            let error = Params::parse_cdn_cgi(options, &none).unwrap_err().to_string();
            assert!(error.contains(part), "{options}: {error}");
        }
        for (options, part) in [
            ("w:-1", "`w`"),
            ("rs:huge:1:1", "`fit`"),
            ("g:xx", "`crop`"),
            ("pd:1:2", "`pad`"),
            ("watermark:1", "`watermark`"),
            ("bg:1:2:300", "`bg`"),
            ("pr:thumb", "`preset`"),
            (&"w:1/".repeat(65), "more than 64"),
        ] {
            let error = Params::parse_imgproxy(options, None, &none).unwrap_err().to_string();
            assert!(error.contains(part), "{options}: {error}");
        }
    }
}
