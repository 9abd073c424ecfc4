//! What queries mean, and which are refused.

use super::*;

fn parse(query: &str) -> Result<Option<Params>, ParamError> {
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    Params::parse(&pairs)
}

#[test]
fn equal_requests_have_one_key() {
    for (query, key) in [
        ("w=640", "w=640,fit=clip,fm=webp,q=80"),
        ("fm=webp&w=640&q=80&fit=clip", "w=640,fit=clip,fm=webp,q=80"),
        ("w=640&fit=max&utm_source=x", "w=640,fit=clip,fm=webp,q=80"),
        ("w=320&dpr=2", "w=640,fit=clip,fm=webp,q=80"),
        ("w=0640&fit=crop", "w=640,fit=clip,fm=webp,q=80"),
        ("w=640&fit=crop&enlarge=0", "w=640,fit=clip,fm=webp,q=80"),
        ("w=640&enlarge=1", "w=640,fit=clip,enlarge=1,fm=webp,q=80"),
        ("w=640&h=9&fit=crop&enlarge=1", "w=640,h=9,fit=crop,fm=webp,q=80"),
        ("w=640&h=9&fit=crop&enlarge=0", "w=640,h=9,fit=crop,enlarge=0,fm=webp,q=80"),
        ("w=640&h=9&fit=min&enlarge=1&crop=top", "w=640,h=9,fit=min,at=500:0,fm=webp,q=80"),
        ("enlarge=1", "fm=webp,q=80"),
        ("w=427&dpr=1.5", "w=641,fit=clip,fm=webp,q=80"),
        ("w=10&h=20&fit=crop&fm=jpeg&q=1", "w=10,h=20,fit=crop,fm=jpg,q=1"),
        ("h=20&w=10&fit=crop&fm=jpg&q=1", "w=10,h=20,fit=crop,fm=jpg,q=1"),
        ("h=8192&fit=scale", "h=8192,fit=scale,fm=webp,q=80"),
        ("w=10&fm=png&q=3", "w=10,fit=clip,fm=png"),
        ("fm=png", "fm=png"),
        ("q=100&fit=fill", "fm=webp,q=100"),
        ("dpr=3", "fm=webp,q=80"),
        ("w=8000&h=1000&dpr=5", "w=8192,h=1024,fit=clip,fm=webp,q=80"),
        ("auto=compress", "fm=webp,q=60"),
        ("auto=compress,format&fm=jpg&q=90", "fm=jpg,q=90"),
        ("bri=0&con=0&sat=0&blur=0&sharp=0&pad=0&rot=0&border-radius=0", "fm=webp,q=80"),
        ("bri=-5&con=10&sat=-100&blur=20&sharp=30", "bri=-5,con=10,sat=-100,blur=20,sharp=30,fm=webp,q=80"),
        ("w=9&crop=left", "w=9,fit=clip,fm=webp,q=80"),
        ("w=9&h=9&fit=crop&crop=center", "w=9,h=9,fit=crop,fm=webp,q=80"),
        ("w=9&h=9&fit=crop&crop=top,left", "w=9,h=9,fit=crop,at=0:0,fm=webp,q=80"),
        ("w=9&h=9&fit=crop&fp-x=0&fp-y=0.0001", "w=9,h=9,fit=crop,at=0:0,fm=webp,q=80"),
        ("w=9&h=9&fit=crop&crop=entropy", "w=9,h=9,fit=crop,at=entropy,fm=webp,q=80"),
        ("w=9&h=9&fit=crop&crop=edges", "w=9,h=9,fit=crop,at=entropy,fm=webp,q=80"),
        ("flip=h&rot=90", "turn=5,fm=webp,q=80"),
        ("flip=hv&rot=180", "fm=webp,q=80"),
        ("orient=90", "orient=6,fm=webp,q=80"),
        ("orient=6", "orient=6,fm=webp,q=80"),
        ("rect=1,2,3,4&trim=auto", "rect=1:2:3:4,trim=10,fm=webp,q=80"),
        ("pad=4&border-radius=6&dpr=2&bg=fff", "radius=12,pad=8,bg=ffffffff,fm=webp,q=80"),
        ("bg=80336699", "bg=33669980,fm=webp,q=80"),
        ("mono=9a0&trim=auto&trim-tol=3", "trim=3,mono=99aa00,fm=webp,q=80"),
    ] {
        assert_eq!(parse(query).unwrap().unwrap().canonical(), key, "{query}");
    }
}

#[test]
fn other_parameters_ask_for_no_image() {
    for query in ["", "v=3", "width=100&W=3", "t=1&utm_source=w"] {
        assert_eq!(parse(query), Ok(None), "{query}");
    }
}

#[test]
fn refusals_name_the_parameter_and_what_is_accepted() {
    for (query, parameter, text) in [
        ("w=0", "w", "1 to 8192"),
        ("w=-1", "w", "1 to 8192"),
        ("w=+1", "w", "1 to 8192"),
        ("w=%2B1", "w", "1 to 8192"),
        ("w=1e9", "w", "1 to 8192"),
        ("w=NaN", "w", "1 to 8192"),
        ("w=", "w", "1 to 8192"),
        ("w=8193", "w", "1 to 8192"),
        ("w=99999999999999999999", "w", "1 to 8192"),
        ("w=1.5", "w", "1 to 8192"),
        ("w=%D9%A1", "w", "1 to 8192"),
        ("h=0x10", "h", "1 to 8192"),
        ("w=1&w=2", "w", "more than once"),
        ("w=1&w=1", "w", "more than once"),
        ("q=0", "q", "1 to 100"),
        ("q=101", "q", "1 to 100"),
        ("fm=exe", "fm", "webp, jpg, png"),
        ("fm=WEBP", "fm", "webp, jpg, png"),
        ("fit=cover", "fit", "clip, crop, fill, max, min, scale"),
        ("dpr=0", "dpr", "1 to 5"),
        ("dpr=5.01", "dpr", "1 to 5"),
        ("dpr=NaN", "dpr", "1 to 5"),
        ("dpr=inf", "dpr", "1 to 5"),
        ("dpr=1e0", "dpr", "1 to 5"),
        ("dpr=.", "dpr", "1 to 5"),
        ("auto=enhance", "auto", "format, compress"),
        ("ch=battery", "ch", "viewport-width"),
        ("crop=faces", "crop", "entropy"),
        ("crop=entropy,top", "crop", "entropy"),
        ("crop=top&fp-x=0.5", "crop", "fp-x"),
        ("fp-x=1.1", "fp-x", "0 to 1"),
        ("rect=1,2,3", "rect", "left,top,width,height"),
        ("rect=1,2,0,4", "rect", "left,top,width,height"),
        ("rect=1,2,3,4,5", "rect", "left,top,width,height"),
        ("trim=color", "trim", "auto"),
        ("trim-tol=5", "trim-tol", "without trim"),
        ("rot=45", "rot", "0, 90, 180"),
        ("orient=9", "orient", "1 to 8"),
        ("flip=x", "flip", "h, v or hv"),
        ("bri=101", "bri", "-100 to 100"),
        ("con=--1", "con", "-100 to 100"),
        ("sat=+1", "sat", "-100 to 100"),
        ("blur=2001", "blur", "0 to 2000"),
        ("sharp=-1", "sharp", "0 to 100"),
        ("bg=blue", "bg", "colour"),
        ("bg=fffffffff", "bg", "colour"),
        ("mono=", "mono", "colour"),
        ("pad=2049", "pad", "0 to 2048"),
        ("border-radius=x", "border-radius", "max"),
    ] {
        let error = parse(query).unwrap_err();
        assert_eq!(error.parameter, parameter, "{query}");
        assert!(error.to_string().contains(text), "{query}: {error}");
    }
}

#[test]
fn long_or_hostile_values_are_not_repeated_whole() {
    let error = parse(&format!("w={}", "9".repeat(8192))).unwrap_err();
    assert!(error.to_string().len() < 120, "{error}");
    let error = parse("w=%0d%0aSet-Cookie:x").unwrap_err();
    assert!(!error.to_string().contains(['\r', '\n']), "{error}");
}
