//! Compares what a request costs the server with OpenBao, by turns in one run: the same load, TLS 1.3, connections that
//! stay, audit on. `benches/compare/run` builds everything, fetches OpenBao and calls this.

mod coffer;
mod load;
mod openbao;
mod scene;
mod usage;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Parser, ValueEnum as _};
use coffer_tests::{issuer::Issuer, postgres::Postgres, programs::Programs};

use crate::{
    coffer::Coffer,
    load::count,
    openbao::OpenBao,
    scene::{Scene, Side, Work},
};

/// Compare the server's processor time a request with OpenBao's
#[derive(Parser)]
struct Arguments {
    /// The program `bao`; without it Coffer is measured alone
    #[arg(long, value_name = "FILE")]
    bao: Option<PathBuf>,
    /// What to measure [default: everything]
    #[arg(long, value_enum, value_delimiter = ',')]
    work: Vec<Work>,
    /// Turns
    #[arg(long, default_value_t = 3)]
    turns: u32,
    /// Seconds of load in a turn
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Names in the folder that is listed
    #[arg(long, default_value_t = 10_000)]
    names: u64,
    /// Where stores and logs are kept meanwhile: a folder on a real disk
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    disk: PathBuf,
}

/// What one server needs for one work, over all turns.
#[derive(Default)]
struct Column {
    cpu_us: Vec<f64>,
    rates: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(arguments))
}

async fn compare(arguments: Arguments) -> Result<()> {
    let works = if arguments.work.is_empty() { Work::value_variants().to_vec() } else { arguments.work.clone() };
    let database = if works.contains(&Work::Database) { Some(scene::database()?) } else { None };
    let scene = Scene {
        disk: arguments.disk.clone(),
        read_keys: 1_000,
        write_keys: 20_000,
        list_keys: arguments.names,
        issuer: Issuer::es256("https://issuer.test")?,
        database: database.as_ref().map(Postgres::port),
    };
    let coffer = Coffer::start(Programs::built()?, &scene).await?;
    let bao = match &arguments.bao {
        Some(program) => Some(OpenBao::start(program, &scene).await?),
        None => None,
    };
    say("| work | server | CPU us, min / median / max | requests/s | p50 ms | p99 ms | times less CPU (min / min) |");
    say("|---|---|---|---|---|---|---|");
    for work in works {
        let (mut ours, mut theirs) = (Column::default(), Column::default());
        for _ in 0..arguments.turns {
            if let Some(bao) = &bao {
                measure(bao, work, &scene, &arguments, &mut theirs).await?;
            }
            measure(&coffer, work, &scene, &arguments, &mut ours).await?;
        }
        let ratio = smallest(&theirs.cpu_us) / smallest(&ours.cpu_us);
        if bao.is_some() {
            show(work, "OpenBao", &mut theirs, "");
        }
        show(work, "Coffer", &mut ours, &if bao.is_some() { format!("{ratio:.1}") } else { String::new() });
    }
    Ok(())
}

async fn measure(side: &impl Side, work: Work, scene: &Scene, arguments: &Arguments, column: &mut Column) -> Result<()> {
    let load = side.load(work, scene)?;
    let time = Duration::from_secs(arguments.seconds);
    let before = usage::cpu_us(side.process())?;
    let figures = side.target().run(arguments.connections, time, &load).await?;
    let used = usage::cpu_us(side.process())?.saturating_sub(before);
    let each = count(load.each);
    column.cpu_us.push(count(used) * each / count(figures.requests));
    column.rates.push(figures.rate() / each);
    column.p50_ms.push(figures.latency_ms(500) * each);
    column.p99_ms.push(figures.latency_ms(990) * each);
    Ok(())
}

fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn show(work: Work, server: &str, column: &mut Column, ratio: &str) {
    for values in [&mut column.cpu_us, &mut column.rates, &mut column.p50_ms, &mut column.p99_ms] {
        values.sort_by(f64::total_cmp);
    }
    let median = |values: &[f64]| values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let most = column.cpu_us.last().copied().unwrap_or(f64::NAN);
    say(&format!(
        "| {work:?} | {server} | {:.0} / {:.0} / {most:.0} | {:.0} | {:.2} | {:.2} | {ratio} |",
        smallest(&column.cpu_us),
        median(&column.cpu_us),
        median(&column.rates),
        median(&column.p50_ms),
        median(&column.p99_ms),
    ));
}

#[expect(clippy::print_stdout, reason = "the result")]
fn say(line: &str) {
    println!("{line}");
}
