//! `millrace sign`: an address that is good for a while, for whoever has it.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use millrace_kit::clock::Clock;

use super::{
    cli::{complain, say},
    token::{Keys, NO_SECRET, duration},
};
use crate::delivery::{Target, split_url};

#[derive(Debug, Args)]
pub struct Sign {
    /// The address, with or without scheme and host.
    #[arg(value_name = "URL")]
    url: String,
    /// How long it is good, such as 30m, 1h or 7d.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Duration,
    /// Sign all that lies in the same directory and below: of a playlist, its segments too.
    #[arg(long)]
    prefix: bool,
    /// With --prefix: tells one viewer's addresses from another's. Letters, digits, - and _.
    #[arg(long, value_name = "NAME", default_value = "", requires = "prefix")]
    name: String,
    #[command(flatten)]
    keys: Keys,
}

pub fn run(sign: &Sign) -> ExitCode {
    let settings = match sign.keys.load() {
        Ok(settings) => settings,
        Err(faults) => return complain(&faults),
    };
    let Some(secret) = settings.keys.secrets().first() else { return complain(&NO_SECRET) };
    let path = split_url(&sign.url).1;
    let target = match Target::parse(path) {
        Ok(target) => target.to_string(),
        Err(wrong) => return complain(&format_args!("{}: {wrong}", sign.url)),
    };
    let now = Clock::System.unix_millis().div_euclid(1000);
    let end = now.saturating_add(i64::try_from(sign.expires.as_secs()).unwrap_or(i64::MAX));
    let signed = match sign.prefix {
        true => secret.sign_directory(&target, &sign.name, end),
        false => secret.sign_address(&target, end),
    };
    match signed {
        Some(signed) => {
            let host = sign.url.strip_suffix(path).unwrap_or_default().trim_end_matches('/');
            say(&format!("{host}{signed}\n"));
            ExitCode::SUCCESS
        }
        None => complain(&"a name has at most 64 letters, digits, - and _"),
    }
}
