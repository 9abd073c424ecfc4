//! `GET /api/v1/cache/explain?url=…[&header=Name: value]…[&method=…][&format=text]`: why a request would hit or miss.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::form_urlencoded;

use super::{
    admin::{Admin, problem},
    gate, translate,
};
use crate::{
    admission::Scope,
    delivery::{Request, Target, remove_hop_by_hop, split_url},
};

/// Fields of the request that is asked about.
const MAX_FIELDS: usize = 64;

/// What is asked.
#[derive(Debug)]
struct Question {
    request: Request,
    text: bool,
}

pub async fn on_admin(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    let headers = translate::request_headers(request.headers());
    if let Err(refusal) = gate::admit(&admin, &headers, Scope::Admin) {
        return *refusal;
    }
    let question = match Question::parse(request.query_string()) {
        Ok(question) => question,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, &detail),
    };
    let told = admin.delivery().explain(&question.request).await;
    match question.text {
        true => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(told.to_string()),
        false => HttpResponse::Ok().json(told),
    }
}

impl Question {
    fn parse(query: &str) -> Result<Self, String> {
        let (mut url, mut method, mut text) = (None, Method::GET, false);
        let mut headers = HeaderMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "url" => url = Some(value.into_owned()),
                "method" => {
                    method = value.parse().map_err(|_| format!("{value:?} is not a method such as GET"))?;
                }
                "format" => {
                    text = match &*value {
                        "json" => false,
                        "text" => true,
                        other => return Err(format!("format {other:?} is neither json nor text")),
                    }
                }
                "header" if headers.len() >= MAX_FIELDS => {
                    return Err(format!("more than {MAX_FIELDS} request fields"));
                }
                "header" => {
                    let (name, value) = field(&value)
                        .ok_or_else(|| format!("{value:?} is not a field such as Accept: */*"))?;
                    headers.append(name, value);
                }
                other => return Err(format!("parameter {other:?} is none of url, header, method, format")),
            }
        }
        let url = url.ok_or("the parameter `url` is missing")?;
        let (host, path) = split_url(&url);
        let target = Target::parse(path).map_err(|bad| format!("{url:?}: {bad}"))?;
        if let Some(host) = host.filter(|_| !headers.contains_key(header::HOST)) {
            headers.insert(header::HOST, host.try_into().map_err(|_| format!("{url:?}: not a host"))?);
        }
        remove_hop_by_hop(&mut headers);
        Ok(Self {
            request: Request { method, target, headers: Arc::new(headers), interims: None, client: None },
            text,
        })
    }
}

fn field(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_or_refused() {
        let question = Question::parse(
            "url=https://a.example/%2561?x=1&header=Accept:%20a&header=Accept:b&method=HEAD&format=text",
        );
        let Question { request, text } = question.unwrap();
        assert_eq!((request.method, request.target.to_string(), text), (Method::HEAD, "/a?x=1".into(), true));
        assert_eq!(request.headers["host"], "a.example");
        assert_eq!(request.headers.get_all("accept").iter().count(), 2);
        for (query, reason) in [
            ("", "`url` is missing"),
            ("url=a", "does not begin with a slash"),
            ("url=/a&header=x", "not a field"),
            ("url=/a&header=x y:z", "not a field"),
            ("url=/a&format=xml", "neither json nor text"),
            ("url=/a&method=G%20T", "not a method"),
            ("url=/a&uri=/b", "none of"),
        ] {
            let refused = Question::parse(query).unwrap_err();
            assert!(refused.contains(reason), "{query}: {refused}");
        }
        let many = format!("url=/a{}", "&header=x:y".repeat(MAX_FIELDS + 1));
        assert!(Question::parse(&many).unwrap_err().contains("more than"));
    }
}
