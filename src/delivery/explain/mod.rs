//! Why a request hits or misses: the way of a request walked by eye, with the very functions that decide. Nothing is asked
//! of an origin, nothing is changed, and nothing is counted.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use millrace_kit::clock::UnixMillis;

use super::{
    fill::{Became, Note},
    pipeline::Delivery,
    request::Request,
    route::{Plan, Work},
    routing::Routing,
};
use crate::cache::{
    Head, Held, Key, Tiers, Variants,
    purge::{Concern, Name, Named, Standing},
};

mod case;
mod change;
mod decision;
mod fixes;
mod frameworks;
mod relatives;
mod report;
mod sentences;
mod steps;
mod text;
mod words;

pub use report::Explanation;

use case::Case;
use decision::Subject;
use words::{fields, shown};

/// Where the answer to a request lies, or would lie.
struct Place {
    head: Option<Arc<Head>>,
    tiers: Tiers,
    standing: Standing,
    variants: Option<Arc<Variants>>,
    /// Something was here and was taken out.
    gone: bool,
}

impl Delivery {
    pub async fn explain(&self, request: &Request) -> Explanation {
        let routing = self.core.router.now();
        let (mut told, plan) = self.explain_one(&routing, request).await;
        if let Some(plan) = plan.filter(|plan| !matches!(plan.work, Work::Fetch)) {
            let mut headers = plan.policy.rules.fields.for_source(&request.headers);
            let part = match told.object {
                Some(_) => None,
                None => self.part_of_source(&plan, &headers).await,
            };
            if let Some(part) = &part {
                headers.insert(header::RANGE, part.clone());
            }
            let source = Request {
                method: Method::GET,
                target: plan.source,
                headers: Arc::new(headers),
                interims: None,
                client: None,
            };
            let source = self.explain_one(&routing, &source).await.0;
            if part.is_some() {
                // It is put together from that, and never stored.
                told.verdict = source.verdict.clone();
                (told.smallest_change, told.alternatives) = Default::default();
            }
            told.source = Some(Box::new(source));
        }
        told
    }

    async fn explain_one<'p>(
        &self,
        routing: &'p Routing,
        request: &Request,
    ) -> (Explanation, Option<Plan<'p>>) {
        let mut told = Explanation {
            request: report::Asked {
                method: request.method.to_string(),
                target: request.target.to_string(),
                fields: fields(&request.headers),
            },
            ..Explanation::default()
        };
        let plan = match self.plan(routing, &request.asked()) {
            Ok(plan) => plan,
            Err(bad) => {
                told.verdict = decision::bad_query(&bad);
                return (told, None);
            }
        };
        let now = self.core.clock().unix_millis();
        let key = self.key_of(&plan);
        let heeded = heeded(&plan, request);
        let place = self.locate(&key, &heeded).await;
        let journal = self.core.fills.journal();
        let note = journal.of(&key);
        told.route = report::Route {
            name: plan.policy.name.to_string(),
            kind: plan.route.as_str(),
            template: plan.route.template(),
            source: plan.source.to_string(),
        };
        told.key = describe_key(&key);
        told.object = place.head.as_ref().map(|head| self.describe(head, &place, now));
        told.variants = self.describe_variants(&key, &place, &heeded, now).await;
        told.purges = place.head.as_ref().map(|head| self.purges(head)).unwrap_or_default();
        told.last_fill = note.as_deref().map(|note| describe_note(note, now));
        let case = match (&place.head, note.as_ref().and_then(|note| note.answer.as_ref())) {
            (Some(head), _) => Some(Case::of_head(plan.policy, &request.method, &heeded, head, now)),
            (None, Some(answer)) => Some(Case::of_answer(plan.policy, &request.method, &heeded, answer)),
            (None, None) => None,
        };
        let subject = Subject {
            fills: &self.core.fills,
            request,
            policy: plan.policy,
            place: &place,
            note: note.as_deref(),
            case: case.as_ref(),
            under_way: self.core.fills.is_under_way(&key),
            noise: journal.queries(&key).and_then(|(query, siblings)| relatives::noise(query, &siblings)),
            now,
        };
        subject.decide(&mut told);
        (told, Some(plan))
    }

    /// The part of the source that is all there is to a segment, if it is one that is put together.
    async fn part_of_source(&self, plan: &Plan<'_>, headers: &HeaderMap) -> Option<HeaderValue> {
        let source = plan.instead(Work::Fetch);
        let key = self.key_of(&source);
        let head = self.locate(&key, headers).await.head?;
        let part = self.core.place_of_segment(plan, &head.key, &head)?;
        HeaderValue::try_from(format!("bytes={}-{}", part.start, part.end - 1)).ok()
    }

    /// Under which key it is stored.
    fn key_of(&self, plan: &Plan<'_>) -> Key {
        plan.key(self.store().seed())
    }

    /// The way that a lookup goes, see `resolve`.
    async fn locate(&self, primary: &Key, headers: &HeaderMap) -> Place {
        let store = self.store();
        let absent = |variants, gone| Place {
            head: None,
            tiers: Tiers::default(),
            standing: Standing::Current,
            variants,
            gone,
        };
        let found = |head: Arc<Head>, tiers, variants| {
            let standing = store.purges().judge(&head);
            Place { head: Some(head), tiers, standing, variants, gone: false }
        };
        let variants = match store.inspect(primary).await {
            Some((Held::Head(head), tiers)) => return found(head, tiers, None),
            Some((Held::Variants(variants), _)) => variants,
            Some((Held::Gone, _)) => return absent(None, true),
            None => return absent(None, false),
        };
        let favourite = variants.spec.select_favourite(headers);
        let selections = [Some(variants.spec.select(headers)), favourite];
        let keys =
            selections.iter().flatten().map(|selection| primary.variant(&variants, selection, store.seed()));
        for key in keys {
            if let Some((Held::Head(head), tiers)) = store.inspect(&key).await {
                return found(head, tiers, Some(variants));
            }
        }
        absent(Some(variants), false)
    }

    fn describe(&self, head: &Head, place: &Place, now: UnixMillis) -> report::Object {
        let blocks = self.store().inspect_blocks(head).map(|blocks| (blocks.total, blocks.held));
        report::Object {
            tiers: tiers(place.tiers),
            status: head.status.as_u16(),
            length: head.length,
            blocks,
            age_secs: head.freshness.age(now) / 1000,
            ttl_secs: head.freshness.ttl(now).div_euclid(1000),
            hidden_by_purge: place.standing == Standing::Hidden,
            fields: fields(&head.fields.to_header_map()),
        }
    }

    async fn describe_variants(
        &self,
        primary: &Key,
        place: &Place,
        headers: &HeaderMap,
        now: UnixMillis,
    ) -> Option<report::Variants> {
        let variants = place.variants.as_ref()?;
        let here = variants.spec.select(headers);
        let siblings = self.core.fills.journal().variants(primary);
        let mut known = Vec::with_capacity(siblings.len());
        for sibling in siblings.iter().rev() {
            let key = primary.variant(variants, &sibling.text, self.store().seed());
            let held = match self.store().inspect(&key).await {
                Some((Held::Head(_), tiers)) => tiers,
                _ => Tiers::default(),
            };
            let differs =
                relatives::differences(&sibling.text, &here).into_iter().map(|(name, there, here)| {
                    let value = |value: Option<&str>| value.map(|value| shown(name, value));
                    (name.to_owned(), value(there), value(here))
                });
            known.push(report::Variant {
                tiers: tiers(held),
                secs_ago: (now - sibling.at) / 1000,
                differs: differs.collect(),
            });
        }
        let asked = relatives::fields_of(&here).into_iter();
        let asked = asked.map(|(name, value)| (name.to_owned(), value.map(|value| shown(name, value))));
        let by = variants.spec.names().iter().map(ToString::to_string).collect();
        Some(report::Variants { by, asked: asked.collect(), known })
    }

    fn purges(&self, head: &Head) -> Vec<report::Purge> {
        let concerns = self.store().purges().concerning(head);
        let told = concerns.into_iter().map(|Concern { named, sequence, soft }| report::Purge {
            sequence,
            soft,
            named: match named {
                Named::Name(Name::Url(text)) => format!("url {text}"),
                Named::Name(Name::Prefix(path)) => format!("prefix {path}/"),
                Named::Name(Name::Tag(tag)) => format!("tag {}", String::from_utf8_lossy(tag)),
                Named::AnyTag => "a tag, of which it has more than are told apart".to_owned(),
                Named::Everything => "everything".to_owned(),
                Named::Forgotten => "purges so long ago that their names are forgotten".to_owned(),
            },
        });
        told.collect()
    }
}

/// The fields that count, and what the request says to caches.
fn heeded(plan: &Plan<'_>, request: &Request) -> HeaderMap {
    let mut heeded = (*plan.policy.rules.fields.heeded(&request.headers)).clone();
    for name in [header::CACHE_CONTROL, header::PRAGMA] {
        heeded.remove(&name);
        for value in request.headers.get_all(&name) {
            heeded.append(&name, value.clone());
        }
    }
    heeded
}

fn tiers(tiers: Tiers) -> Vec<&'static str> {
    [(tiers.memory, "memory"), (tiers.disk, "disk")]
        .iter()
        .filter(|(held, _)| *held)
        .map(|(_, name)| *name)
        .collect()
}

/// A key's text is `[host]/path[?query]`, then a space and what is made of it, or a line break and what else is keyed.
fn describe_key(key: &Key) -> report::Key {
    let (source, operation) = match key.text().split_once(' ') {
        Some((source, operation)) => (source, Some(operation)),
        None => (key.text(), None),
    };
    let (address, fields) =
        source.split_once('\n').map_or((source, None), |(address, more)| (address, Some(more)));
    let (place, query) =
        address.split_once('?').map_or((address, None), |(place, query)| (place, Some(query)));
    let (host, path) = place.split_at(place.find('/').unwrap_or(0));
    let parts = [
        ("host", Some(host).filter(|host| !host.is_empty())),
        ("path", Some(path)),
        ("query", query),
        ("fields", fields),
        ("operation", operation),
    ];
    report::Key {
        text: key.text().replace('\n', " "),
        hash: format!("{:032x}", key.hash()),
        parts: parts.into_iter().filter_map(|(part, value)| Some((part, value?.to_owned()))).collect(),
    }
}

fn describe_note(note: &Note, now: UnixMillis) -> report::LastFill {
    let (became, reason) = match note.became {
        Became::Stored => ("stored", None),
        Became::Refused(refusal) => ("refused", Some(super::Reason::Refused(refusal).as_str())),
        Became::Failed(kind) => ("failed", Some(kind.as_str())),
    };
    let answer = note.answer.as_ref();
    report::LastFill {
        secs_ago: (now - note.at) / 1000,
        became,
        reason,
        asked_with: note.asked_with.clone(),
        origin: answer.map(|answer| answer.origin.to_string()),
        status: answer.map(|answer| answer.status.as_u16()),
        fields: answer.map(|answer| fields(&answer.fields.to_header_map())).unwrap_or_default(),
    }
}
