//! What the dialects' words mean in ours.

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
            "w=320,h=240,fit=cover,g=auto,q=70",
            "rs:fill:320:240/g:sm/q:70/el:1",
        ),
        (
            "w=9&h=9&fit=crop&fp-x=0.2&fp-y=0.7",
            "w=9,h=9,fit=cover,gravity=0.2x0.7",
            "rs:fill:9:9:1/g:fp:0.2:0.7",
        ),
        ("w=9&h=9&fit=crop&crop=top,right", "", "s:9:9/el:1/rt:fill/g:noea:0:0"),
        ("w=9&h=8&fit=crop&enlarge=0", "w=9,h=8,fit=crop", "rs:fill:9:8:0"),
        ("w=9&h=8&enlarge=1", "w=9,h=8,fit=contain", "rs:fit:9:8:1"),
        ("w=9&h=8&fit=min", "", "rs:fill-down:9:8"),
        ("w=9&h=8&fit=scale&enlarge=0", "", "rs:force:9:8:0"),
        ("w=9&h=8&fit=auto&crop=top", "", "rs:auto:9:8/g:no"),
        ("w=9&enlarge=1", "w=9,fit=contain", "rs:fit:9:0:1"),
        ("w=300&h=200&fit=scale&fm=png", "w=300,h=200,fit=squeeze,f=png", "rs:force:300:200:t/f:png"),
        (
            "w=300&h=200&fit=fill&enlarge=1&bg=ff0080",
            "w=300,h=200,fit=pad,background=#ff0080",
            "s:300:200:1:1:ce/bg:255:0:128",
        ),
        ("w=300&h=200&fit=fill&enlarge=1&bg=fff", "w=300,h=200,fit=pad", "rs:fit:300:200:1:1/bg:ffffff"),
        ("rot=270&flip=hv", "rotate=90,flip=hv", "rot:90/fl:1:1"),
        // There it is turned first.
        ("rot=270&flip=v", "rotate=90,flip=v", "fl:1/rot:90"),
        ("rot=180&flip=h", "rotate=180,flip=h", "fl:1/rot:180"),
        (
            "blur=60&sharp=50&bri=20&con=-50&sat=100",
            "blur=6,sharpen=5,brightness=1.2,contrast=0.5,saturation=2",
            "bl:3/sh:1/br:51/co:0.5/sa:2",
        ),
        ("h=100&dpr=2&fm=jpg", "height=100,dpr=2,format=baseline-jpeg", "h:100/dpr:2/f:jpg"),
        ("pad=10&trim=auto&trim-tol=4", "", "pd:10:10/t:10"),
        // There it comes on top.
        ("w=120&h=70&fit=fill&pad=10", "", "pd:10/rs:fit:100:50:0:1"),
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
        ("rs:fill:9:9:0:1", "`extend`"),
        ("rs:fit:9:9:0:1:no", "`extend`"),
        ("g:no:5:0", "`crop`"),
        ("w:8190/pd:3", "`pad`"),
        (&"w:1/".repeat(65), "more than 64"),
    ] {
        let error = Params::parse_imgproxy(options, None, &none).unwrap_err().to_string();
        assert!(error.contains(part), "{options}: {error}");
    }
}
