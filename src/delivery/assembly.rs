//! What delivery is built from, and what it tells of itself.

use std::sync::Arc;

use millrace_kit::{clock::Clock, metrics::Registry, tasks::Tasks};

use super::{
    Core,
    ahead::Ahead,
    coding,
    derive::{Media, MediaConfig, SetupError},
    fill::{self, Fills},
    handover::Givers,
    instruments::{self, Instruments},
    pipeline::Delivery,
    routing::{self, Router},
    sandbox::Svg,
    warm::{self, Warmer},
};
use crate::{
    cache::{Loan, Store},
    origin::{self, Origin, member},
};

#[derive(Debug, Clone)]
pub struct Config {
    pub fill: fill::Limits,
    pub routing: routing::Config,
    /// Whether `Cache-Status` has the key.
    pub show_keys: bool,
    pub svg: Svg,
    pub media: MediaConfig,
    pub coding: coding::Rules,
    pub warm: warm::Config,
}

impl Delivery {
    pub fn new(
        config: Config,
        store: Arc<Store>,
        origins: Vec<(Arc<dyn Origin>, member::Config)>,
        clock: Clock,
        tasks: Tasks,
        registry: &Registry,
    ) -> Result<Self, SetupError> {
        let router = Router::new(config.routing, origins, tasks.clone(), registry)?;
        let ahead = Arc::new(Ahead::new(tasks.clone(), config.media.ahead));
        let warmer = Warmer::new(config.warm, store.clone(), clock.clone(), tasks.clone(), registry)?;
        let fills = Fills::new(store, config.fill, clock, tasks.clone(), instruments::of_fills(registry)?);
        let media = Media::new(config.media, registry)?;
        let core = Arc::new(Core { fills, router, media });
        tasks.spawn_until_stop("improve images", core.clone().improve());
        let (coding, show_keys, svg) = (config.coding, config.show_keys, config.svg);
        let (instruments, givers) = (Instruments::new(registry)?, Givers::default());
        Ok(Self { core, coding, instruments, show_keys, ahead, svg, warmer, givers })
    }

    /// Tries out what else would be tried out when it is first needed.
    pub async fn warm_up(&self) {
        self.core.media.transcoder().await;
    }

    /// Fills the store from peers.
    pub fn warmer(&self) -> &Arc<Warmer> {
        &self.warmer
    }

    pub fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    /// Takes so many bytes from what the memory tier may have.
    pub fn lend(&self, bytes: usize) -> Loan {
        self.store().lend(bytes)
    }

    /// The same for a connection, as long as it is there.
    pub fn lend_connection(&self, bytes: usize) -> Loan {
        self.store().lend_connection(bytes)
    }

    /// Whether so much is lent that only what is stored should be served.
    pub fn is_overdrawn(&self) -> bool {
        self.store().lender().is_overdrawn()
    }

    pub fn store(&self) -> &Arc<Store> {
        self.core.fills.store()
    }

    /// Brings gauges up to date, before they are read.
    pub fn observe(&self) {
        self.core.media.observe();
        self.core.router.at_once().observe();
    }

    /// The condition of all origins.
    pub fn origins(&self) -> Vec<origin::Report> {
        self.core.router.at_once().origins()
    }

    /// From now on these origins and rules are in force.
    pub fn reroute(&self, config: routing::Config, origins: Vec<routing::Wanted>) {
        self.core.router.change(config, origins);
    }
}
