//! Which origins there are, and whose rules hold where: what may change while the server runs. A request keeps what was in
//! force when it came.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use millrace_kit::{
    metrics::{Error, Registry},
    tasks::Tasks,
};

use super::{
    instruments::OriginRequests,
    policy::{self, Policies, Policy, PolicyRules},
};
use crate::origin::{self, Chain, Member, Observer, Origin, RetryPolicy, member};

#[derive(Debug, Clone)]
pub struct Config {
    /// For what no route is for.
    pub general: PolicyRules,
    pub routes: Vec<policy::Config>,
    pub retry: RetryPolicy,
}

/// An origin that there is to be.
pub enum Wanted {
    New(Arc<dyn Origin>, member::Config),
    /// As it is, with all that is known of its condition.
    Kept(Arc<str>),
}

/// What is in force at one time.
pub struct Routing {
    pub policies: Policies,
    origins: Vec<Arc<Member>>,
    /// The same origins once more, where a route has breakers of its own.
    apart: Vec<Arc<Member>>,
}

pub(super) struct Router {
    now: ArcSwap<Routing>,
    observer: Arc<OriginRequests>,
    tasks: Tasks,
}

impl Routing {
    fn new(config: Config, origins: Vec<Arc<Member>>, before: &[Arc<Member>]) -> Self {
        let Config { general, routes, retry } = config;
        let mut apart = Vec::new();
        let mut with_chain = |route: policy::Config| {
            let one = |name| origins.iter().find(|origin| origin.name() == name).cloned();
            let mut chosen: Vec<_> = match route.origins.is_empty() {
                true => origins.clone(),
                false => route.origins.iter().filter_map(one).collect(),
            };
            if route.rules.asking.own_breakers {
                let own = |origin: &Arc<Member>| {
                    let known = before.iter().find(|member| member.is_apart_of(origin, &route.name));
                    known.cloned().unwrap_or_else(|| Arc::new(origin.apart(&route.name)))
                };
                chosen = chosen.iter().map(own).collect();
                apart.extend(chosen.iter().cloned());
            }
            let retry = route.rules.asking.retry.as_ref().unwrap_or(&retry);
            let chain = Chain::new(chosen, retry.clone()).balanced(route.rules.asking.balance);
            Policy::new(route, Arc::new(chain))
        };
        let routes = routes.into_iter().map(&mut with_chain).collect();
        let general = Policy::general(general, Arc::new(Chain::new(origins.clone(), retry)));
        Self { policies: Policies::new(routes, general), origins, apart }
    }

    fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.origins.iter().chain(&self.apart)
    }

    /// Brings gauges up to date, before they are read.
    pub fn observe(&self) {
        for origin in self.members() {
            origin.refresh();
        }
    }

    /// The condition of all origins.
    pub fn origins(&self) -> Vec<origin::Report> {
        self.members().map(|origin| origin.report()).collect()
    }
}

impl Router {
    pub fn new(
        config: Config,
        origins: Vec<(Arc<dyn Origin>, member::Config)>,
        tasks: Tasks,
        registry: &Registry,
    ) -> Result<Self, Error> {
        let observer = OriginRequests::new(registry)?;
        let member = |(origin, config)| member(origin, config, &observer, &tasks);
        let origins = origins.into_iter().map(member).collect();
        let now = ArcSwap::from_pointee(Routing::new(config, origins, &[]));
        Ok(Self { now, observer, tasks })
    }

    /// For what waits for nothing.
    pub fn at_once(&self) -> Guard<Arc<Routing>> {
        self.now.load()
    }

    pub fn now(&self) -> Arc<Routing> {
        self.now.load_full()
    }

    /// From now on this is in force. Origins that are kept and not there are left out.
    pub fn change(&self, config: Config, wanted: Vec<Wanted>) {
        let before = self.now();
        let find = |wanted| match wanted {
            Wanted::New(origin, config) => Some(member(origin, config, &self.observer, &self.tasks)),
            Wanted::Kept(name) => before.origins.iter().find(|origin| *origin.name() == name).cloned(),
        };
        let origins = wanted.into_iter().filter_map(find).collect();
        let after = Arc::new(Routing::new(config, origins, &before.apart));
        self.now.store(after.clone());
        for old in before.members() {
            if !after.members().any(|new| Arc::ptr_eq(new, old)) {
                old.retire();
                self.observer.gone(old.label());
            }
        }
        // Some may be called as those were.
        after.observe();
    }
}

fn member(
    origin: Arc<dyn Origin>,
    config: member::Config,
    observer: &Arc<OriginRequests>,
    tasks: &Tasks,
) -> Arc<Member> {
    let member = Member::new(origin, config).observed_by(observer.clone()).with_tasks(tasks.clone());
    let member = Arc::new(member);
    member.watch();
    member
}
