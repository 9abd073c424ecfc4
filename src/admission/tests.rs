//! Who gets in with what: good tokens of each kind, and a thousand that look like them.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millrace_kit::clock::Clock;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
const SECRET: &str = "k3Jw0s8Zr1mVx9Qb7Tn5Yc2Ld4Hf6Gp8";
const NEXT: &str = "another-secret-that-takes-over-soon";
const ECDSA: &EcdsaSigningAlgorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;

/// Private keys, and the door that knows what belongs to them.
struct Scene {
    ed: EncodingKey,
    ed_public: Vec<u8>,
    ec: EncodingKey,
    door: Admission,
}

fn scene() -> Scene {
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed_public = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap().public_key().as_ref().to_vec();
    let ec = EcdsaKeyPair::generate_pkcs8(ECDSA, &random).unwrap();
    let ec_public = EcdsaKeyPair::from_pkcs8(ECDSA, ec.as_ref()).unwrap();
    let point = ec_public.public_key().as_ref();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let set = json!({ "keys": [
        { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": text(&ed_public) },
        { "kty": "EC", "crv": "P-256", "alg": "ES256", "x": text(&point[1..33]), "y": text(&point[33..]) },
    ]});
    let secrets = vec![Secret::new(SECRET).unwrap(), Secret::new(NEXT).unwrap()];
    let keys = Keyring::new(secrets, Keyring::public(&set.to_string()).unwrap());
    let config = Config {
        operator: millrace_kit::secret::Secret::new("the-operator"),
        keys,
        wanted: Wanted { leeway_secs: 30, ..Wanted::default() },
    };
    Scene {
        ed: EncodingKey::from_ed_der(ed.as_ref()),
        ed_public,
        ec: EncodingKey::from_ec_der(ec.as_ref()),
        door: Admission::new(config, Clock::manual(NOW * 1000)),
    }
}

fn claims() -> Claims {
    Claims {
        exp: NOW + 3600,
        iat: Some(NOW),
        sub: Some("team-a".to_owned()),
        scope: "upload read".to_owned(),
        prefix: Some("/assets/a".to_owned()),
        ..Claims::default()
    }
}

fn bearer(token: &str) -> HeaderMap {
    let line = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, line)])
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &impl serde::Serialize) -> String {
    encode(&Header::new(algorithm), claims, key).unwrap()
}

#[test]
fn tokens_of_each_key_let_in_for_what_they_say() {
    let Scene { ed, ec, door, .. } = scene();
    let hs = |secret: &str| Secret::new(secret).unwrap().sign(&claims()).unwrap();
    let tokens = [
        hs(SECRET),
        hs(NEXT),
        signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), &claims()),
        signed(Algorithm::EdDSA, &ed, &claims()),
        signed(Algorithm::ES256, &ec, &claims()),
    ];
    for token in &tokens {
        let admit = |scope, path| door.admit(&bearer(token), scope, path);
        assert_eq!(admit(Scope::Upload, "/assets/a/x").unwrap().owner, "team-a", "{token}");
        assert!(admit(Scope::Read, "/assets/a").is_ok());
        assert_eq!(admit(Scope::Purge, "/assets/a/x"), Err(Denied::Scope(Scope::Purge)));
        assert_eq!(admit(Scope::Upload, "/assets/b/x"), Err(Denied::Path(Scope::Upload)));
        assert_eq!(admit(Scope::Upload, "/assets/ab"), Err(Denied::Path(Scope::Upload)));
    }
    assert_eq!(door.admit(&bearer("the-operator"), Scope::Purge, "/x").unwrap().owner, "operator");
}

#[test]
fn the_field_itself_has_to_be_right() {
    let Scene { door, .. } = scene();
    let good = Secret::new(SECRET).unwrap().sign(&claims()).unwrap();
    let lines = |lines: &[String]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::AUTHORIZATION, HeaderValue::try_from(line).unwrap());
        }
        door.identify(&headers).map(|grant| grant.owner)
    };
    let line = format!("Bearer {good}");
    assert!(lines(&[format!("bearer  {good} ")]).is_ok());
    assert_eq!(lines(&[]), Err(Denied::Missing));
    assert_eq!(lines(&["Bearer ".to_owned()]), Err(Denied::Missing));
    assert_eq!(lines(&[format!("Basic {good}")]), Err(Denied::Missing));
    assert_eq!(lines(std::slice::from_ref(&good)), Err(Denied::Missing));
    assert_eq!(lines(&[line.clone(), line]), Err(Denied::Invalid));
    assert_eq!(lines(&[format!("Bearer {}", "x".repeat(MAX_TOKEN + 1))]), Err(Denied::Invalid));
    let closed = Admission::new(Config::default(), Clock::manual(0));
    assert_eq!(closed.identify(&bearer(&good)), Err(Denied::Closed));
    assert_eq!(closed.identify(&bearer("")), Err(Denied::Closed));
}

#[test]
fn claims_hold_only_in_their_time_and_for_us() {
    let Scene { door, .. } = scene();
    let wanting = |issuer: Option<&str>, audience: Option<&str>| {
        let keys = Keyring::new(vec![Secret::new(SECRET).unwrap()], Vec::new());
        let (issuer, audience) = (issuer.map(str::to_owned), audience.map(str::to_owned));
        let config =
            Config { keys, wanted: Wanted { issuer, audience, leeway_secs: 0 }, ..Config::default() };
        Admission::new(config, Clock::manual(NOW * 1000))
    };
    let said = |claims: Value| {
        bearer(&signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), &claims))
    };
    let end = NOW + 60;
    for (claims, good) in [
        (json!({ "exp": end }), true),
        (json!({ "exp": NOW - 29 }), true),
        (json!({ "exp": NOW - 30 }), false),
        (json!({}), false),
        (json!({ "exp": "soon" }), false),
        (json!({ "exp": null }), false),
        (json!({ "exp": i64::MAX }), true),
        (json!({ "exp": end, "nbf": NOW + 30 }), true),
        (json!({ "exp": end, "nbf": NOW + 31 }), false),
        (json!({ "exp": end, "iat": NOW + 31 }), false),
        (json!({ "exp": end, "aud": "another" }), false),
        (json!({ "exp": end, "iss": "whoever" }), true),
        (json!({ "exp": end, "prefix": 7 }), false),
        (json!({ "exp": end, "scope": ["admin"] }), false),
    ] {
        assert_eq!(door.identify(&said(claims.clone())).is_ok(), good, "{claims}");
    }
    let strict = wanting(Some("us"), Some("edge"));
    for (claims, good) in [
        (json!({ "exp": end, "iss": "us", "aud": "edge" }), true),
        (json!({ "exp": end, "iss": "us", "aud": ["x", "edge"] }), true),
        (json!({ "exp": end, "iss": "us" }), false),
        (json!({ "exp": end, "aud": "edge" }), false),
        (json!({ "exp": end, "iss": "them", "aud": "edge" }), false),
        (json!({ "exp": end, "iss": "us", "aud": ["x"] }), false),
        (json!({ "exp": NOW, "iss": "us", "aud": "edge" }), false),
    ] {
        assert_eq!(strict.identify(&said(claims.clone())).is_ok(), good, "{claims}");
    }
}

/// Writes a token by hand.
fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn none_of_a_thousand_forged_tokens_lets_in() {
    let Scene { ed, ed_public, ec, door } = scene();
    let goods = [
        Secret::new(SECRET).unwrap().sign(&claims()).unwrap(),
        signed(Algorithm::EdDSA, &ed, &claims()),
        signed(Algorithm::ES256, &ec, &claims()),
    ];
    let mut forgeries = Vec::new();
    let mut random = fastrand::Rng::with_seed(7);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=";
    while forgeries.len() < 900 {
        let good = &goods[forgeries.len() % goods.len()];
        let mut bytes = good.clone().into_bytes();
        let at = random.usize(..bytes.len());
        match random.u8(..4) {
            0 => bytes[at] = alphabet[random.usize(..alphabet.len())],
            1 => bytes.truncate(at),
            2 => bytes.insert(at, alphabet[random.usize(..alphabet.len())]),
            _ => drop(bytes.remove(at)),
        }
        let forgery = String::from_utf8(bytes).unwrap();
        if !goods.contains(&forgery) {
            forgeries.push(forgery);
        }
    }
    // Parts of two good ones.
    for (one, other) in [(0, 1), (1, 2), (2, 0)] {
        let (head, _) = goods[one].rsplit_once('.').unwrap();
        forgeries.push(format!("{head}.{}", goods[other].rsplit_once('.').unwrap().1));
    }
    let claims = json!({ "exp": NOW + 3600, "scope": "admin" });
    for algorithm in ["none", "None", "NONE", "", "HS384", "RS256", "HS256", "EdDSA", "ES256", "PS512"] {
        for kid in [None, Some("ed"), Some("../../etc/passwd"), Some("' OR 1=1 --"), Some("\0")] {
            let header = match kid {
                Some(kid) => json!({ "alg": algorithm, "typ": "JWT", "kid": kid }),
                None => json!({ "alg": algorithm, "typ": "JWT" }),
            };
            forgeries.extend([forged(&header, &claims, b""), forged(&header, &claims, &[0; 64])]);
        }
    }
    // The public key taken for a secret, keys from elsewhere, keys that the token brings along.
    for key in [&ed_public[..], URL_SAFE_NO_PAD.encode(&ed_public).as_bytes(), b"", b"secret"] {
        for kid in [None, Some("ed".to_owned())] {
            let header = Header { kid, ..Header::new(Algorithm::HS256) };
            forgeries.push(encode(&header, &claims, &EncodingKey::from_secret(key)).unwrap());
        }
    }
    let stranger = scene();
    forgeries.push(signed(Algorithm::EdDSA, &stranger.ed, &claims));
    forgeries.push(signed(Algorithm::ES256, &stranger.ec, &claims));
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(Algorithm::HS256) };
    forgeries.push(encode(&critical, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap());
    assert!(forgeries.len() >= 1000, "{}", forgeries.len());
    for forgery in forgeries {
        assert_eq!(door.identify(&bearer(&forgery)), Err(Denied::Invalid), "{forgery}");
    }
}

#[test]
fn secrets_are_long_and_never_shown() {
    assert_eq!(Secret::new(&"x1".repeat(15)).unwrap_err(), BadKey::Short);
    assert_eq!(Secret::new(&"x".repeat(64)).unwrap_err(), BadKey::Monotonous);
    let keys = Keyring::new(vec![Secret::new(&format!(" {SECRET}\n")).unwrap()], Vec::new());
    let config = Config { keys, operator: millrace_kit::secret::Secret::new("hidden"), ..Config::default() };
    let shown = format!("{config:?} {:?}", Secret::new(SECRET));
    assert!(!shown.contains("k3Jw") && !shown.contains("hidden"), "{shown}");
}

#[test]
fn only_keys_for_our_algorithms_are_taken() {
    for (set, wrong) in [
        (json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] }), BadKey::Unsupported(0)),
        (json!({ "keys": [{ "kty": "RSA", "n": "AQAB", "e": "AQAB" }] }), BadKey::Unsupported(0)),
        (
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "HS256", "x": "AA" }] }),
            BadKey::Unsupported(0),
        ),
        (
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "enc", "x": "AA" }] }),
            BadKey::Unsupported(0),
        ),
    ] {
        assert_eq!(Keyring::public(&set.to_string()).unwrap_err(), wrong, "{set}");
    }
    assert!(matches!(Keyring::public("[]").unwrap_err(), BadKey::NotASet(_)));
}
