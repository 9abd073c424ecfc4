//! The observability sidecar of Millrace: scrapes metrics, keeps a day of them, evaluates Prometheus rules, notifies,
//! and shows it all. Modules know only those below them:
//! `app › unit_test › config › http › events › {scaling, notify} › rules › promql › series › collect › scrape › discovery › relabel › durable › model`.

pub mod app;
pub mod collect;
pub mod config;
pub mod discovery;
pub mod durable;
pub mod events;
pub mod http;
pub mod model;
pub mod notify;
pub mod promql;
pub mod relabel;
pub mod rules;
pub mod scaling;
pub mod scrape;
pub mod series;
pub mod unit_test;
