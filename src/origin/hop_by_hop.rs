//! Removes the fields that concern one connection only (RFC 9110 §7.6.1), in either direction.

use http::{HeaderMap, HeaderName, header};

/// Removed whether `Connection` names them or not: not every peer lists what it should.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Takes out `Connection` with all it names, `Keep-Alive`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade` and every
/// `Proxy-*` field.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let doomed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .chain(headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned())
        .chain(HOP_BY_HOP)
        .collect();
    for name in doomed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_end_to_end_fields_stay() {
        let mut headers = map(&[
            ("connection", "close, X-Inner ,, bad name"),
            ("connection", "x-second"),
            ("x-inner", "1"),
            ("x-second", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "expires"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "secret"),
            ("proxy-authenticate", "Basic"),
            ("proxy-connection", "keep-alive"),
            ("proxy-features", "x"),
            ("etag", "\"1\""),
            ("proxied", "stays"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("etag", "\"1\""), ("proxied", "stays")]));
    }
}
