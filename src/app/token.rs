//! `millrace token`: a token, signed with the first secret of the settings.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use millrace_kit::{
    clock::Clock,
    config::{self, Faults, Layer},
};

use super::cli::{complain, environment, read, say};
use crate::{
    admission::{self, Audience, Claims, Scope},
    config::{Raw, resolve_access},
    delivery::Target,
};

#[derive(Debug, Args)]
pub struct Token {
    /// What it is for: read, upload, purge, admin; several with commas.
    #[arg(long, value_name = "S", required = true, value_delimiter = ',')]
    scope: Vec<Scope>,
    /// How long it is good, such as 30m, 1h or 7d.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Duration,
    /// Path below which it is good, such as /assets/team-a [default: everywhere].
    #[arg(long, value_name = "P", value_parser = prefix)]
    prefix: Option<Target>,
    /// Whose it is, for quotas and the catalogue.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    #[command(flatten)]
    keys: Keys,
}

/// Where the secrets are.
#[derive(Debug, Args)]
pub struct Keys {
    /// File with a secret; before those of the settings.
    #[arg(long, value_name = "F")]
    secret_file: Option<String>,
    /// TOML configuration file, for `[access]`. The environment counts as for the server: MILLRACE__ACCESS__SECRET.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
}

pub fn run(token: &Token) -> ExitCode {
    let settings = match token.keys.load() {
        Ok(settings) => settings,
        Err(faults) => return complain(&faults),
    };
    let now = Clock::System.unix_millis().div_euclid(1000);
    let ttl = i64::try_from(token.ttl.as_secs()).unwrap_or(i64::MAX);
    let words: Vec<_> = token.scope.iter().map(|scope| scope.as_str()).collect();
    let claims = Claims {
        exp: now.saturating_add(ttl),
        iat: Some(now),
        iss: settings.wanted.issuer.clone(),
        aud: settings.wanted.audience.clone().map(Audience::One),
        sub: token.owner.clone(),
        scope: words.join(" "),
        prefix: token.prefix.as_ref().map(|prefix| prefix.path().to_owned()),
        ..Claims::default()
    };
    match settings.keys.secrets().first().and_then(|secret| secret.sign(&claims)) {
        Some(signed) => {
            say(&format!("{signed}\n"));
            ExitCode::SUCCESS
        }
        None => complain(&NO_SECRET),
    }
}

pub const NO_SECRET: &str =
    "there is no secret to sign with: give --secret-file, --config, or MILLRACE__ACCESS__SECRET";

impl Keys {
    /// The part of the server's settings that is about tokens.
    pub fn load(&self) -> Result<admission::Config, Faults> {
        let mut layers = Vec::new();
        if let Some(file) = &self.config {
            layers.push(read(file)?);
        }
        layers.push(Layer::env("MILLRACE", environment()));
        let mut raw: Raw = config::load(&layers)?;
        if let Some(file) = &self.secret_file {
            raw.access.secret.0.clear();
            raw.access.secret_files.insert(0, file.clone());
        }
        let mut faults = Faults::default();
        let settings = resolve_access(&raw, &mut faults);
        faults.into_result(settings)
    }
}

/// A number and `s`, `m`, `h` or `d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 30m, 1h or 7d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    count.checked_mul(seconds).filter(|total| *total > 0).map(Duration::from_secs).ok_or_else(wrong)
}

fn prefix(text: &str) -> Result<Target, String> {
    match Target::parse(text) {
        Ok(target) if target.query().is_none() => Ok(target),
        Ok(_) => Err("a prefix has no query".to_owned()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, seconds) in
            [("90s", Some(90)), ("30m", Some(1800)), ("1h", Some(3600)), ("7d", Some(604_800)), ("1", None)]
        {
            assert_eq!(duration(text).ok().map(|time| time.as_secs()), seconds, "{text}");
        }
        for text in ["", "h", "0h", "-1h", "1w", "1.5h", "99999999999999999d", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
