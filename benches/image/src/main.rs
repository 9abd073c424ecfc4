//! Runs image jobs for `scripts/bench-image.sh`: a job per line on standard input, its figures per line on standard output, so
//! that it can take turns with a process of the rival. `compare` tells how alike two pictures are.
#![allow(dead_code)]

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

mod likeness;
mod media;

use media::image::{Limits, Params, transform};

// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    for line in io::stdin().lock().lines() {
        let job: Value = serde_json::from_str(&line?)?;
        let text = |name: &str| job[name].as_str().ok_or_else(|| format!("{name} is missing"));
        let answer = match text("do")? {
            "transform" => run(&fs::read(text("source")?)?, text("query")?, job["out"].as_str())?,
            "compare" => likeness::compare(&fs::read(text("reference")?)?, &fs::read(text("picture")?)?)?,
            other => return Err(format!("cannot {other}").into()),
        };
        writeln!(io::stdout(), "{answer}")?;
        io::stdout().flush()?;
    }
    Ok(())
}

fn run(source: &[u8], query: &str, out: Option<&str>) -> Outcome<Value> {
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let params = Params::parse(&pairs)?.ok_or("no image parameter in the query")?;
    let limits = Limits { max_pixels: 100_000_000, ..Limits::default() };
    let before = memory_kib("VmRSS")?;
    // Sets the peak back to what is used now.
    fs::write("/proc/self/clear_refs", "5")?;
    let (cpu, wall) = (cpu(), Instant::now());
    let made = transform(source, &params, &limits);
    let (took, cpu) = (wall.elapsed(), self::cpu() - cpu);
    let peak = memory_kib("VmHWM")?;
    let mut answer = json!({
        "ms": millis(took), "cpu_ms": millis(cpu), "peak_kib": peak.saturating_sub(before), "total_kib": peak,
    });
    match made {
        Ok(made) => {
            if let Some(out) = out {
                fs::write(out, &made.bytes)?;
            }
            let steps = made.steps.iter().map(|(step, took)| ((*step).to_owned(), json!(millis(*took))));
            answer["bytes"] = json!(made.bytes.len());
            answer["steps"] = Value::Object(steps.collect());
        }
        Err(error) => answer["error"] = json!(error.to_string()),
    }
    Ok(answer)
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn memory_kib(name: &str) -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.ok_or("no memory figures")?.trim().trim_end_matches(" kB").parse()?)
}
