//! `coffer scan`: checks of hosts, images and workloads, on which it can depend whether a secret is released.

use clap::{Args, Subcommand};
use coffer_checks::Check;

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, pairs},
};

mod access;
mod attest;
mod base;
mod host;
pub(crate) mod image;
mod packages;
mod place;
pub(crate) mod report;
mod sarif;
mod stored;
mod trust;
mod workload;

/// Check a host, an image, a workload, or who else can reach a secret
///
/// Each check says what should hold and how bad it is where it does not. It passes, fails, is unknown (which is never as good as passed)
/// or is about nothing here. The exit status is 7 where something fails that is as bad as --fail-on says and has no exception.
/// docs/checks.md has all of them.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  coffer scan host
  coffer scan image registry.example.com/team/app:1.4
  coffer scan workload -f deployment.yaml
  coffer scan access kv/prod/payments
  coffer scan host --sarif host.sarif --fail-on critical
  coffer scan --explain HST-01
  coffer scan --list")]
pub(crate) struct Scan {
    /// Tell what a check is about, why it matters and what to do
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
    /// List every check
    #[arg(long, conflicts_with = "explain")]
    list: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    Access(access::Access),
    Base(base::Base),
    Host(host::Host),
    Image(image::Image),
    Workload(workload::Workload),
}

impl Scan {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match (self.what, self.explain) {
            (Some(What::Access(command)), _) => command.run(app).await,
            (Some(What::Base(command)), _) => command.run(app).await,
            (Some(What::Host(command)), _) => command.run(app),
            (Some(What::Image(command)), _) => command.run(app).await,
            (Some(What::Workload(command)), _) => command.run(app).await,
            (None, Some(id)) => explain(app, &id),
            (None, None) if self.list => list(app),
            (None, None) => Err(Failure::usage("say what to look at").next("coffer scan --help")),
        }
    }
}

/// Every check that there is.
pub(crate) fn catalogue() -> impl Iterator<Item = &'static Check> {
    coffer_checks::host::checks()
        .chain(coffer_checks::workload::checks())
        .chain(coffer_checks::access::checks())
        .chain(coffer_images::catalogue())
}

/// Every check, in the order of the ids.
pub(crate) fn sorted() -> Vec<&'static Check> {
    let mut checks: Vec<_> = catalogue().collect();
    checks.sort_by_key(|check| check.id);
    checks
}

fn list(app: &App) -> Result<Exit> {
    let checks = sorted();
    app.out.long(&checks, |view| {
        let mut table = Table::new(&["CHECK", "SEVERITY", "TIER", "WHAT HOLDS"]).prose("WHAT HOLDS");
        for check in &checks {
            table.row([check.id.to_owned(), check.severity.to_string(), check.tier.to_string(), check.title.to_owned()]);
        }
        table.render(view, "")
    })?;
    Ok(Exit::Done)
}

fn explain(app: &App, id: &str) -> Result<Exit> {
    let Some(check) = catalogue().find(|check| check.id.eq_ignore_ascii_case(id)) else {
        return Err(Failure::usage(format!("there is no check {id}")).next("coffer scan --list"));
    };
    app.out.result(check, |_| {
        pairs(&[
            ("Check", format!("{}: {}", check.id, check.title)),
            ("Severity", check.severity.to_string()),
            ("Tier", check.tier.to_string()),
            ("Benchmarks", check.benchmarks.join(", ")),
            ("Why", check.why.to_owned()),
            ("What to do", check.remedy.to_owned()),
        ])
    })?;
    Ok(Exit::Done)
}
