//! Seeded misconfigurations, of which the right reason and the right fix must be named. What is foretold is then asked for,
//! and must come true; what is proposed is then done, and must make it a hit.

use serde_json::Value;

use super::{
    super::Edge,
    explain,
    seeds::{Seed, seeds},
    verdict,
};
use crate::origin_double::OriginDouble;

#[tokio::test]
async fn misconfigurations_are_named_and_so_is_what_mends_them() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let seeds = seeds(&edge);
    assert!(seeds.len() >= 25);
    let mut wrong = Vec::new();
    for seed in &seeds {
        for complaint in [foretell(&origin, &edge, seed).await, mend(&origin, &edge, seed).await] {
            wrong.extend(complaint.err().map(|complaint| format!("{}: {complaint}", seed.name)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} seeds:\n{}", wrong.len(), seeds.len(), wrong.join("\n"));
}

fn require(holds: bool, otherwise: impl std::fmt::Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_string()) }
}

/// The right reason and the right fix are named, and what is foretold comes true.
async fn foretell(origin: &OriginDouble, edge: &Edge, seed: &Seed) -> Result<(), String> {
    let (method, query, fields) = seed.asked;
    let path = format!("/{}", seed.name);
    origin.on(&path, seed.answer.clone());
    for (query, fields) in seed.before {
        edge.open("GET", &format!("{path}{query}"), fields).await.finish().await.ok();
        edge.settled().await;
    }
    edge.advance(seed.wait);
    let hits = origin.hits(&path);
    let looks = edge.metric("millrace_cache_tier_requests_total", &[]).await;
    let target = format!("{path}{query}");
    let told = explain(edge, method, &target, fields).await;
    let again = explain(edge, method, &target, fields).await;
    require(told == again, "explaining has changed something")?;
    require(origin.hits(&path) == hits, "explaining has asked the origin")?;
    let looked = edge.metric("millrace_cache_tier_requests_total", &[]).await;
    require(looked == looks, "explaining counts as use")?;
    let (outcome, reason, because) = verdict(&told);
    require((outcome, reason) == seed.verdict, format!("{outcome} {reason}: {because}"))?;
    require(because.contains(seed.because), because)?;
    let changes = &told["smallest_change"];
    require(changes.as_array().unwrap().len() == 1, changes)?;
    let (who, what, how) = seed.fix;
    require(changes[0]["who"] == who && changes[0]["what"] == what, changes)?;
    require(changes[0]["how"].as_str().unwrap().contains(how), changes)?;
    let text = told.to_string();
    require(!text.contains("s3cret") && !text.contains("s4cret"), &text)?;

    let reply = edge.ask(method, &target, fields).await;
    let happened = reply.cache().to_lowercase();
    let confirmed = outcome == "miss" && happened == "revalidated";
    require(happened == outcome || confirmed, format!("it was a {happened}"))?;
    let status = reply.field("cache-status");
    require(status.contains(reason), status)
}

/// What is proposed makes it a hit.
async fn mend(origin: &OriginDouble, edge: &Edge, seed: &Seed) -> Result<(), String> {
    let Some(mended) = &seed.mended else { return Ok(()) };
    let (method, query, fields) = seed.asked;
    let target = format!("/{}/mended{query}", seed.name);
    origin.on(&format!("/{}/mended", seed.name), mended.clone());
    edge.ask(method, &target, seed.before.first().map_or(&[], |(_, fields)| fields)).await;
    let told = explain(edge, method, &target, fields).await;
    require(verdict(&told).0 == "hit", &told)?;
    require(told["smallest_change"] == Value::Array(Vec::new()), &told)?;
    let cache = edge.ask(method, &target, fields).await.cache().to_owned();
    require(cache == "HIT", cache)
}
