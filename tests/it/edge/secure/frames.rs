//! Row A17: requests over HTTP/2 that are none. Each ends its stream or its connection, and reaches nobody.

use super::*;

/// A field without an index in any table.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

fn fields(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

const HELD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/held")];

/// `HEADERS` that end their stream and themselves.
fn ask(block: &[u8]) -> Vec<u8> {
    frame(1, 5, 1, block)
}

/// A good request with these fields behind its own.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    ask(&fields(&[&HELD[..], more].concat()))
}

/// Each without the settings in front.
fn rows() -> Vec<(&'static str, Vec<u8>)> {
    let [method, scheme, authority, path] = HELD;
    let late = [method, scheme, authority, ("x-a", "b"), path];
    // Into the table of what was said before, 3,900 bytes, and then named again and again.
    let entry = [&[0x40, 1, b'a', 0x7f, 0xbd, 0x1d][..], &[b'b'; 3900]].concat();
    let bomb = [&fields(&HELD)[..], &entry, &[0xbe; 2000]].concat();
    vec![
        ("A17 capitals in a name", with(&[("X-Capital", "a")])),
        ("A17 connection", with(&[("connection", "close")])),
        ("A17 keep-alive", with(&[("keep-alive", "timeout=5")])),
        ("A17 transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("A17 upgrade", with(&[("upgrade", "h2c")])),
        ("A17 a line end in a value", with(&[("x-a", "b\r\nx-c: d")])),
        ("A17 a space in a name", with(&[("x a", "b")])),
        ("A17 pseudo-field behind a field", ask(&fields(&late))),
        ("A17 pseudo-field twice", with(&[(":path", "/other")])),
        ("A17 pseudo-field of an answer", with(&[(":status", "200")])),
        ("A17 pseudo-field of nobody", with(&[(":evil", "1")])),
        ("A17 no path", ask(&fields(&[method, scheme, authority]))),
        ("A17 empty path", ask(&fields(&[method, scheme, authority, (":path", "")]))),
        ("A17 no method", ask(&fields(&[scheme, authority, path]))),
        ("A17 a length without a body", with(&[("content-length", "5")])),
        ("A17 two lengths", with(&[("content-length", "0"), ("content-length", "5")])),
        ("A17 an index beyond the table", ask(&[0x82, 0x87, 0xff, 0x80, 0x01])),
        ("A17 a table larger than allowed", ask(&[&[0x3f, 0xe1, 0xff, 0x3f][..], &fields(&HELD)].concat())),
        ("A17 a text cut short", ask(&[&fields(&HELD)[..], &[0, 5, b'x']].concat())),
        ("A17 fields that unpack to megabytes", ask(&bomb)),
        ("A17 a stream of the server's", frame(1, 5, 2, &fields(&HELD))),
        ("A17 fields of the connection", frame(1, 5, 0, &fields(&HELD))),
        ("A17 data of nobody", frame(0, 1, 1, b"hello")),
        ("A17 a window of too much", [frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), with(&[])].concat()),
        ("A17 a window of nothing more", [frame(8, 0, 0, &[0; 4]), with(&[])].concat()),
        ("A17 a frame larger than allowed", frame(0, 0, 1, &vec![0; 20_000])),
    ]
}

/// Whether the first stream was answered 200, from what the server has written.
fn is_answered(mut received: &[u8]) -> bool {
    while let [a, b, c, kind, _, s @ ..] = received
        && s.len() >= 4
    {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(payload) = s[4..].get(..length) else { return false };
        // The static table has this status at 8.
        if *kind == 1 && payload.first() == Some(&0x88) {
            return true;
        }
        received = &s[4 + length..];
    }
    false
}

/// Whether the first stream or the connection has been ended by a frame that says so.
fn is_ended(mut received: &[u8]) -> bool {
    while let [a, b, c, kind, _, s @ ..] = received
        && s.len() >= 4
    {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if matches!(*kind, 1 | 3 | 7) {
            return true;
        }
        received = s[4..].get(length..).unwrap_or_default();
    }
    false
}

#[tokio::test]
async fn requests_that_are_none_reach_nobody() {
    let scene = Scene::new(|_| {}).await;
    scene.origin.on("/held", Answer::ok("reached").cache_control("no-store"));
    let mut faults = Vec::new();
    for (row, sent) in rows() {
        let mut stream = scene.connect("a.example", &[b"h2"]).await.unwrap();
        // The server may end it before it has read all.
        let _ = stream.write_all(&[PREFACE, &sent].concat()).await;
        let mut received = Vec::new();
        let ended = async {
            while !is_ended(&received) && stream.read_buf(&mut received).await.is_ok_and(|count| count > 0) {}
        };
        let ended = timeout(PATIENCE, ended).await.is_ok();
        if !ended || is_answered(&received) || scene.origin.hits("/held") > 0 {
            faults.push(format!("{row}: ended: {ended}, {} at the origin", scene.origin.hits("/held")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // What is none of that is answered.
    let mut stream = scene.connect("a.example", &[b"h2"]).await.unwrap();
    stream.write_all(&[PREFACE, &with(&[("x-a", "b")])].concat()).await.unwrap();
    let mut received = Vec::new();
    let answered = async {
        while !is_answered(&received) && stream.read_buf(&mut received).await.is_ok_and(|count| count > 0) {}
    };
    assert!(timeout(PATIENCE, answered).await.is_ok() && is_answered(&received));
}

/// What has been written on the first stream, or of the connection as a whole: kinds of frames with their flags and payloads.
fn frames(mut received: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = received
        && let Some(payload) = rest.get(..u32::from_be_bytes([0, *a, *b, *c]) as usize)
    {
        found.push((*kind, *flags, payload.to_vec()));
        received = &rest[payload.len()..];
    }
    found
}

/// Of a body that nobody wants, its client hears when it has the whole answer (RFC 9113 §8.1), and in no way that looks like a fault.
#[tokio::test]
async fn a_body_that_nobody_wants_is_stopped_without_a_fault() {
    let scene =
        Scene::new(|raw| raw.access.secret.0 = "a-secret-of-the-tests-0123456789-abcdef".to_owned()).await;
    let [_, scheme, authority, _] = HELD;
    let put = [(":method", "PUT"), scheme, authority, (":path", "/assets/x"), ("content-length", "9000000")];
    let mut stream = scene.connect("a.example", &[b"h2"]).await.unwrap();
    let sent = [PREFACE, &frame(1, 4, 1, &fields(&put)), &frame(0, 0, 1, &[b'x'; 16_000])].concat();
    stream.write_all(&sent).await.unwrap();
    let mut received = Vec::new();
    let is_stop = |frame: &(u8, u8, Vec<u8>)| matches!(frame.0, 3 | 7);
    let stopped = async {
        while !frames(&received).iter().any(is_stop) {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0, "the connection has ended");
        }
    };
    timeout(PATIENCE, stopped).await.expect("it is told to stop");
    let frames = frames(&received);
    let at = |wanted: &dyn Fn(&(u8, u8, Vec<u8>)) -> bool| frames.iter().position(wanted);
    let (head, end) = (at(&|frame| frame.0 == 1), at(&|frame| frame.0 == 0 && frame.1 & 1 == 1));
    let stop = at(&is_stop);
    assert!(head.is_some() && head < end && end < stop, "{head:?} {end:?} {stop:?}");
    assert_eq!(frames[stop.unwrap()], (3, 0, vec![0; 4]), "RST_STREAM of NO_ERROR");
}
