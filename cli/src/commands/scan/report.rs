//! How a report is shown, and what the command ends with.

use std::{fs, path::PathBuf};

use clap::Args;
use coffer_checks::{Day, Exception, Exceptions, PACKAGES_CHECK, Report, Severity, Status};
use serde::Serialize;

use super::sarif;
use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    input::Source,
    output::{Table, printable},
};

/// Bytes of a file of exceptions, at most.
pub(crate) const EXCEPTIONS_BYTES_MAX: usize = 1 << 20;

/// What holds for every scan.
#[derive(Args)]
pub(crate) struct Options {
    /// Show what passes and what is about nothing here, too
    #[arg(long)]
    all: bool,
    /// The least severity that makes the exit status 7: low, medium, high, critical, or none
    #[arg(long, value_name = "SEVERITY", default_value = "high", value_parser = parse_fail_on)]
    fail_on: FailOn,
    /// A YAML file of failures that somebody answers for, each with check, subject, reason, owner and until
    #[arg(long, value_name = "FILE")]
    exceptions: Option<PathBuf>,
    /// Write a SARIF report as well; - for standard output in place of the table
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
}

impl Options {
    /// Exceptions that are not over, and that advisories can be about that come out later: of the check of packages, and of advisories by
    /// name.
    ///
    /// # Errors
    /// Where they cannot be read, or are wrong.
    pub(super) fn lasting(&self, app: &App) -> Result<Vec<Exception>> {
        let all = self.exceptions.as_ref().map(|path| read(app, path)).transpose()?.unwrap_or_default();
        let is_of_another_check =
            |check: &str| check != PACKAGES_CHECK && ["HST-", "IMG-", "POD-"].iter().any(|kind| check.starts_with(kind));
        let lasts = |exception: &Exception| exception.until >= today(app) && !is_of_another_check(&exception.check);
        Ok(all.exceptions.into_iter().filter(lasts).collect())
    }

    /// The least severity that counts, as a word; empty where nothing does.
    pub(super) fn fail_on(&self) -> &'static str {
        self.fail_on.0.map_or("", Severity::as_str)
    }
}

/// The least severity that counts; none where nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FailOn(Option<Severity>);

fn parse_fail_on(text: &str) -> std::result::Result<FailOn, &'static str> {
    match text {
        "none" => Ok(FailOn(None)),
        text => text.parse().map(|severity| FailOn(Some(severity))).map_err(|_| "write low, medium, high, critical or none"),
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    target: &'a str,
    /// Failures that nobody has answered for.
    failed: usize,
    excepted: usize,
    unknown: usize,
    passed: usize,
    not_applicable: usize,
    /// The worst of the failures that nobody has answered for.
    worst: Option<Severity>,
    /// Exceptions that would have been for a failure, and have ended.
    exceptions_ended: Vec<&'a Exception>,
    findings: Vec<&'a coffer_checks::Finding>,
}

/// Says what the command ends with where standard output has something else than the report.
///
/// # Errors
/// As [`show`].
pub(super) fn unshown(app: &App, report: &mut Report, options: &Options) -> Result<Exit> {
    let exceptions = options.exceptions.as_ref().map(|path| read(app, path)).transpose()?.unwrap_or_default();
    exceptions.apply(report, today(app));
    match &options.sarif {
        Some(path) if path.as_os_str() == "-" => return Err(Failure::usage("standard output can have one document only")),
        Some(path) => fs::write(path, sarif::rendered(report)).map_err(|error| Failure::file("write", path, &error))?,
        None => {}
    }
    Ok(ended_with(report, options))
}

fn ended_with(report: &Report, options: &Options) -> Exit {
    let counts = |severity| options.fail_on.0.is_some_and(|least| severity >= least);
    if report.worst().is_some_and(counts) { Exit::CheckFailed } else { Exit::Done }
}

/// Shows a report as the options say, and says what the command ends with.
///
/// # Errors
/// Where the exceptions cannot be read or are wrong, or something cannot be written.
pub(super) fn show(app: &App, report: &mut Report, options: &Options) -> Result<Exit> {
    let exceptions = options.exceptions.as_ref().map(|path| read(app, path)).transpose()?.unwrap_or_default();
    let ended = exceptions.apply(report, today(app));
    for ended in &ended {
        app.out.note(&format!("the exception for {} ended on {}: {} answers for it", ended.check, ended.until, ended.owner));
    }
    let exit = ended_with(report, options);
    match &options.sarif {
        Some(path) if path.as_os_str() == "-" => {
            app.out.raw(sarif::rendered(report).as_bytes())?;
            return Ok(exit);
        }
        Some(path) => fs::write(path, sarif::rendered(report)).map_err(|error| Failure::file("write", path, &error))?,
        None => {}
    }
    let findings: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| options.all || matches!(finding.status, Status::Fail | Status::Unknown))
        .collect();
    let excepted = report.findings.iter().filter(|finding| finding.exception.is_some()).count();
    let shown = Shown {
        target: &report.target,
        failed: report.count(Status::Fail) - excepted,
        excepted,
        unknown: report.count(Status::Unknown),
        passed: report.count(Status::Pass),
        not_applicable: report.count(Status::NotApplicable),
        worst: report.worst(),
        exceptions_ended: ended,
        findings,
    };
    app.out.long(&shown, |view| {
        let mut table = Table::new(&["CHECK", "SEVERITY", "STATUS", "FOUND"]).prose("FOUND");
        for finding in &shown.findings {
            let status = match (finding.status, &finding.exception) {
                (Status::Fail, Some(_)) => "excepted",
                (Status::Fail, None) => "FAIL",
                (status, _) => status.as_str(),
            };
            table.row([finding.check.id.to_owned(), finding.check.severity.to_string(), status.to_owned(), text(finding)]);
        }
        let Shown { target, failed, excepted, unknown, passed, not_applicable, .. } = &shown;
        let excepted = if *excepted == 0 { String::new() } else { format!("{excepted} excepted, ") };
        let end = format!("{failed} failed, {excepted}{unknown} unknown, {passed} passed, {not_applicable} about nothing here");
        format!("{}{}: {end}\n", table.render(view, ""), printable(target))
    })?;
    Ok(exit)
}

/// What was found, and where it fails what to do.
fn text(finding: &coffer_checks::Finding) -> String {
    let mut text = finding.check.title.to_owned();
    if !finding.subject.is_empty() {
        text.push_str(&format!("\n{}", finding.subject));
    }
    if !finding.evidence.is_empty() {
        text.push_str(&format!("\n{}", finding.evidence));
    }
    match &finding.exception {
        Some(exception) => text.push_str(&format!("\nexcepted: {exception}")),
        None if finding.status == Status::Fail => text.push_str(&format!("\nnext: {}", finding.check.remedy)),
        None => {}
    }
    text
}

fn read(app: &App, path: &std::path::Path) -> Result<Exceptions> {
    let source = Source::of_file(&path.display().to_string());
    let text = app.input.text(&source, EXCEPTIONS_BYTES_MAX)?;
    let wrong = |why: String| Failure::usage(format!("{} has no exceptions that can be used", path.display())).why(why);
    let exceptions: Exceptions = serde_saphyr::from_str(text.expose()).map_err(|error| wrong(error.to_string()))?;
    exceptions.validate().map_err(|error| wrong(error.to_string()))?;
    Ok(exceptions)
}

pub(crate) fn today(app: &App) -> Day {
    app.out.view.now.strftime("%Y-%m-%d").to_string().parse().expect("a date of today is a day")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_severity_that_counts_is_one_word() {
        assert_eq!(parse_fail_on("critical"), Ok(FailOn(Some(Severity::Critical))));
        assert_eq!(parse_fail_on("none"), Ok(FailOn(None)));
        assert!(parse_fail_on("High").is_err());
    }
}
