//! What people decide: holding a number, pausing, having an instance leave. Each is written down before it is done.

use millrace_kit::clock::UnixMillis;

use super::{Error, Group, MAX_OVERRIDE};
use crate::scaling::{
    decision::Override,
    journal::{Entry, KEPT_BY_HAND},
    policy::Policy,
};

const MAX_REASON_BYTES: usize = 500;

impl Group {
    /// The newest first.
    pub fn by_hand(&self, limit: usize) -> Vec<Entry> {
        self.memory.lock().by_hand.iter().rev().take(limit).cloned().collect()
    }

    fn write_down(&self, entry: Entry) -> Result<(), Error> {
        self.journal.by_hand(&entry)?;
        let by_hand = &mut self.memory.lock().by_hand;
        if by_hand.len() >= KEPT_BY_HAND {
            by_hand.pop_front();
        }
        by_hand.push_back(entry);
        Ok(())
    }

    pub async fn set_override(&self, wanted: Override, now: UnixMillis) -> Result<Override, Error> {
        self.check(&wanted, now)?;
        self.decide_by_hand(wanted.by.clone(), Some(wanted.clone()), now).await?;
        Ok(wanted)
    }

    pub async fn end_override(&self, by: String, now: UnixMillis) -> Result<(), Error> {
        self.decide_by_hand(by, None, now).await
    }

    async fn decide_by_hand(
        &self,
        by: String,
        manual: Option<Override>,
        now: UnixMillis,
    ) -> Result<(), Error> {
        let _one = self.deciding.lock().await;
        tracing::info!(group = self.name, by, ?manual, "override");
        self.write_down(Entry::Override { at: now, by, manual: manual.clone() })?;
        self.memory.lock().manual = manual;
        self.nudged.notify_one();
        Ok(())
    }

    fn check(&self, wanted: &Override, now: UnixMillis) -> Result<(), Error> {
        let Policy { min, max, .. } = *self.policy();
        let longest = i64::try_from(MAX_OVERRIDE.as_millis()).unwrap_or(i64::MAX);
        let refuse = |message: String| Err(Error::Invalid(message));
        match wanted.desired {
            Some(_) if wanted.pause => return refuse("say either `desired` or `pause`".to_owned()),
            None if !wanted.pause => return refuse("say `desired` or `pause`".to_owned()),
            Some(desired) if !(min..=max).contains(&desired) => {
                return refuse(format!("{desired} is not between {min} and {max}, the bounds of the policy"));
            }
            _ => {}
        }
        if wanted.until <= now || wanted.until - now > longest {
            return refuse(format!("`seconds` must be from 1 to {}", longest / 1000));
        }
        if wanted.reason.len() > MAX_REASON_BYTES {
            return refuse(format!("`reason` is longer than {MAX_REASON_BYTES} bytes"));
        }
        Ok(())
    }

    pub async fn drain(&self, instance: &str, by: String, now: UnixMillis) -> Result<(), Error> {
        let _one = self.deciding.lock().await;
        let group = self.name.clone();
        let unknown = || Error::UnknownInstance { group: group.clone(), instance: instance.to_owned() };
        if !self.fleet.view().instances.iter().any(|known| known.name == instance) {
            return Err(unknown());
        }
        tracing::info!(group, by, instance, "drain");
        self.write_down(Entry::Drain { at: now, by, instance: instance.to_owned() })?;
        self.fleet.drain(instance).map_err(|_| unknown())
    }
}
