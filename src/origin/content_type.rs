//! The media type of an object, by the extension of its name.

use http::HeaderValue;

/// Where the library's table is silent, dated or thinks of something else (`.ts` of TypeScript or DLNA).
const MEDIA: [(&str, &str); 10] = [
    ("cmfa", "audio/mp4"),
    ("cmfv", "video/mp4"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4s", "video/iso.segment"),
    ("mjs", "text/javascript"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("ts", "video/mp2t"),
    ("vtt", "text/vtt"),
];

/// `application/octet-stream` for what nobody knows. Text is taken for UTF-8.
pub fn of(extension: &str) -> HeaderValue {
    let ours = MEDIA.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension)).map(|(_, media)| *media);
    let media =
        ours.or_else(|| mime_guess::from_ext(extension).first_raw()).unwrap_or("application/octet-stream");
    if media.starts_with("text/") {
        let text = format!("{media}; charset=utf-8");
        return HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("text/plain"));
    }
    HeaderValue::from_static(media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_those_players_expect() {
        for (extension, expected) in [
            ("mp4", "video/mp4"),
            ("MP4", "video/mp4"),
            ("m4s", "video/iso.segment"),
            ("m3u8", "application/vnd.apple.mpegurl"),
            ("mpd", "application/dash+xml"),
            ("ts", "video/mp2t"),
            ("webm", "video/webm"),
            ("webp", "image/webp"),
            ("avif", "image/avif"),
            ("jpg", "image/jpeg"),
            ("jpeg", "image/jpeg"),
            ("png", "image/png"),
            ("gif", "image/gif"),
            ("heic", "image/heic"),
            ("svg", "image/svg+xml"),
            ("vtt", "text/vtt; charset=utf-8"),
            ("html", "text/html; charset=utf-8"),
            ("js", "text/javascript; charset=utf-8"),
            ("mjs", "text/javascript; charset=utf-8"),
            ("json", "application/json"),
            ("", "application/octet-stream"),
            ("nobody", "application/octet-stream"),
        ] {
            assert_eq!(of(extension), expected, "{extension}");
        }
    }
}
