//! Measures how long a host's facts take, and what is made of them: `cargo run --release -p coffer-checks --example measure-host [ROOT [TIMES]]`.

#![expect(clippy::print_stdout, reason = "this prints what it measured")]

use std::{
    env,
    error::Error,
    path::PathBuf,
    time::{Duration, Instant},
};

use coffer_checks::host::{HostFacts, Root, judge};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let path = PathBuf::from(arguments.next().unwrap_or_else(|| "/".into()));
    let times: usize = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let (mut gathered, mut judged) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..times {
        let began = Instant::now();
        let facts = HostFacts::gather(&Root::open(&path)?);
        gathered.push(began.elapsed());
        let began = Instant::now();
        let report = judge("host", &facts);
        judged.push(began.elapsed());
        bytes = serde_json::to_vec(&facts)?.len();
        assert!(!report.findings.is_empty(), "something is found");
    }
    println!("facts: {}; {bytes} bytes as JSON", told(gathered));
    println!("checks: {}", told(judged));
    Ok(())
}

fn told(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() - 1) * part / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", at(50), at(99), at(100))
}
