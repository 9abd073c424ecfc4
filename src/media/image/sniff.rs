//! What kind of file this is, by its content alone: names and declared types lie (`bad-inputs` C9, D3).

/// A kind of file, of which the first five, TIFF and BMP are decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Jpeg,
    Png,
    Webp,
    Gif,
    Avif,
    Heic,
    JpegXl,
    Jpeg2000,
    Tiff,
    Bmp,
    Ico,
    Svg,
    Html,
    Pdf,
    Unknown,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Webp => "WebP",
            Self::Gif => "GIF",
            Self::Avif => "AVIF",
            Self::Heic => "HEIC",
            Self::JpegXl => "JPEG XL",
            Self::Jpeg2000 => "JPEG 2000",
            Self::Tiff => "TIFF",
            Self::Bmp => "BMP",
            Self::Ico => "ICO",
            Self::Svg => "SVG",
            Self::Html => "HTML",
            Self::Pdf => "PDF",
            Self::Unknown => "a file of unknown kind",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
            Self::Avif => "image/avif",
            Self::Heic => "image/heic",
            Self::JpegXl => "image/jxl",
            Self::Jpeg2000 => "image/jp2",
            Self::Tiff => "image/tiff",
            Self::Bmp => "image/bmp",
            Self::Ico => "image/vnd.microsoft.icon",
            Self::Svg => "image/svg+xml",
            Self::Html => "text/html",
            Self::Pdf => "application/pdf",
            Self::Unknown => "application/octet-stream",
        }
    }

    /// By magic numbers (WHATWG MIME Sniffing §6.1, and the formats' own).
    pub fn of(source: &[u8]) -> Self {
        match source {
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::Webp,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [a, b, c, d, b'f', b't', b'y', b'p', brands @ ..] => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                Self::of_brands(&brands[..length.saturating_sub(8).min(brands.len())])
            }
            [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => Self::JpegXl,
            [0xff, 0x4f, 0xff, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', ..] => Self::Jpeg2000,
            [b'I', b'I', 0x2a, 0, ..] | [b'M', b'M', 0, 0x2a, ..] => Self::Tiff,
            [b'B', b'M', ..] if source.len() >= 26 => Self::Bmp,
            [0, 0, 1, 0, ..] => Self::Ico,
            [b'%', b'P', b'D', b'F', b'-', ..] => Self::Pdf,
            _ => Self::of_text(source),
        }
    }

    /// The main brand, its version, and others that the file is good for. That of HEIF in general says nothing of the codec.
    fn of_brands(brands: &[u8]) -> Self {
        let other = brands.as_chunks::<4>().0.iter().skip(2).any(|brand| brand == b"avif");
        match brands.get(..4) {
            Some(b"avif" | b"avis") => Self::Avif,
            Some(b"mif1" | b"msf1") if other => Self::Avif,
            Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1") => Self::Heic,
            _ => Self::Unknown,
        }
    }

    fn of_text(source: &[u8]) -> Self {
        /// How far markup is searched for its root element.
        const PROLOGUE: usize = 1024;
        let text = source.get(..PROLOGUE).unwrap_or(source).trim_ascii_start();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
        if text.first() != Some(&b'<') {
            return Self::Unknown;
        }
        let has = |word: &[u8]| text.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
        if has(b"<svg") {
            Self::Svg
        } else if has(b"<html") || has(b"<!doctype html") || has(b"<script") || has(b"<body") {
            Self::Html
        } else {
            Self::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        for (content, kind) in [
            (b"\xff\xd8\xff\xe0rest".as_slice(), Kind::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Kind::Png),
            (b"RIFF\0\0\0\0WEBPVP8 ", Kind::Webp),
            (b"RIFF\0\0\0\0AVI LIST", Kind::Unknown),
            (b"GIF89a/*=1;alert(1)*/", Kind::Gif),
            (b"GIF88a", Kind::Unknown),
            (b"\0\0\0\x1cftypavif", Kind::Avif),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", Kind::Avif),
            (b"\0\0\0\x14ftypmif1\0\0\0\0heicavif", Kind::Heic),
            (b"\0\0\0\x1cftypheic", Kind::Heic),
            (b"\0\0\0\x1cftypisom", Kind::Unknown),
            (b"\xff\x0a\xff", Kind::JpegXl),
            (b"II\x2a\0....", Kind::Tiff),
            (b"BM not long enough", Kind::Unknown),
            (b"%PDF-1.7", Kind::Pdf),
            (b"<?xml version='1.0'?>\n<svg xmlns='x'>", Kind::Svg),
            (b"\xef\xbb\xbf  <!DOCTYPE HTML>", Kind::Html),
            (b"", Kind::Unknown),
            (b"\xff", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(content), kind, "{:?}", String::from_utf8_lossy(content));
        }
    }
}
