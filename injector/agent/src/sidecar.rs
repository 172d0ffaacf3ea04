//! Writes all files, and follows changes until it is stopped.

use std::{cell::Cell, collections::BTreeSet, future::pending, time::Duration};

use coffer_client::{Backoff, Error, Event, ResumeToken, Watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    agent::{Agent, Trouble, told},
    config::Source,
    credentials::Tended,
    failure::Failure,
    health,
    output::Written,
};

/// The first wait after an attempt that failed; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest wait between attempts.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A watch that lasted this long was a good one: the next failure waits as if it were the first.
const GOOD_WATCH: Duration = Duration::from_secs(60);
/// How long to wait for more events after one, so that changes at once are one swap. What the vault tells together comes
/// within a millisecond; whoever waits for a new value waits for this, too.
const QUIET: Duration = Duration::from_millis(5);
/// Events taken together at most.
const BURST_MAX: usize = 1_024;

/// Runs until it is dropped; ends only with a failure at the beginning.
pub(crate) async fn run(agent: &mut Agent) -> Result<(), Failure> {
    let ready = Cell::new(agent.complete());
    let Some(address) = agent.config.probe_listen else {
        return follow_for_ever(agent, &ready).await;
    };
    let listener = health::listen(address).await?;
    tokio::select! {
        end = follow_for_ever(agent, &ready) => end,
        () = health::serve(listener, &ready) => Ok(()),
    }
}

async fn follow_for_ever(agent: &mut Agent, ready: &Cell<bool>) -> Result<(), Failure> {
    begin(agent).await?;
    ready.set(true);
    let paths = agent.followed();
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let mut poll_at = next_poll(agent);
    let mut resume = None;
    loop {
        let mut began = None;
        let end = follow(agent, &paths, &mut resume, &mut began).await;
        if began.is_some_and(|began: Instant| began.elapsed() >= GOOD_WATCH) {
            backoff.reset();
            poll_at = next_poll(agent);
        }
        let wait = backoff.wait();
        tracing::warn!(retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "changes are not followed: {end}");
        sleep(wait).await;
        if let Err(why) = tend(agent).await {
            tracing::warn!("{why}");
        }
        if Instant::now() >= poll_at {
            poll_at = next_poll(agent);
            tracing::info!("reading all secrets, since changes cannot be followed");
            let sources = agent.changed(&paths);
            match refresh(agent, sources).await {
                Ok(()) => {}
                Err(why) => tracing::warn!("{why}"),
            }
        }
    }
}

fn next_poll(agent: &Agent) -> Instant {
    Instant::now() + Backoff::jittered(agent.config.poll.saturating_mul(4) / 3)
}

/// The first write. A refusal ends the agent, unless the files are there already: then it is as any later refusal.
async fn begin(agent: &mut Agent) -> Result<(), Failure> {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    loop {
        let sources = agent.sources();
        match agent.read(sources).await {
            Ok(()) => break,
            Err(Trouble::Away(why)) => {
                let wait = backoff.wait();
                tracing::warn!(retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "{why}");
                if agent.complete() {
                    tracing::warn!("the files that are there already stay in use");
                    return Ok(());
                }
                sleep(wait).await;
            }
            Err(trouble) if agent.complete() => {
                for line in trouble.message().lines() {
                    tracing::error!("{line}");
                }
                tracing::warn!("the files that are there already stay in use");
                break;
            }
            Err(trouble) => return Err(trouble.into()),
        }
    }
    let written = match agent.write() {
        Ok(written) => written,
        Err(failure) if agent.complete() => {
            tracing::error!("the files stay as they were: {failure}");
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    if written == Written::Changed && agent.config.notify.as_ref().is_some_and(|notify| notify.on_start) {
        notify(agent).await;
    }
    agent.acknowledge().await;
    Ok(())
}

/// Follows changes until that ends; says why it did. `resume` stands for what the files have of what was told, and `began`
/// is when there was a watch: an attempt that took long is none.
async fn follow(agent: &mut Agent, paths: &[String], resume: &mut Option<ResumeToken>, began: &mut Option<Instant>) -> String {
    let mut watch = match agent.keeper.watch_from(paths, resume.as_ref()).await {
        Ok(watch) => watch,
        Err(error) => return told(&error),
    };
    *began = Some(Instant::now());
    tracing::info!(paths = paths.len(), "following changes");
    if agent.unwritten
        && let Err(why) = refresh(agent, Vec::new()).await
    {
        return why;
    }
    loop {
        let (renew_at, credentials_due) = (agent.keeper.renew_at().await, agent.credentials_due());
        let first = tokio::select! {
            event = watch.next() => event,
            () = until(credentials_due) => {
                if let Err(why) = tend(agent).await {
                    return why;
                }
                continue;
            }
            () = until(renew_at) => {
                match renew(agent, paths, resume.as_ref()).await {
                    Ok(Some(fresh)) => watch = fresh,
                    Ok(None) => {}
                    Err(error) => return told(&error),
                }
                continue;
            }
        };
        let batch = gather(&mut watch, first).await;
        if let Err(why) = handle(agent, paths, &batch.events).await {
            return why;
        }
        if let Some(token) = watch.resume_token() {
            *resume = Some(token.clone());
        }
        if batch.events.contains(&Event::SessionEnd) {
            agent.keeper.forget().await;
            return "the session has ended".to_owned();
        }
        if let Some(end) = batch.end {
            return end;
        }
    }
}

/// Logs in anew; gives a watch of the new session, or nothing where the old one goes on.
async fn renew(agent: &Agent, paths: &[String], from: Option<&ResumeToken>) -> Result<Option<Watch>, Error> {
    let before = agent.keeper.client().session_token();
    agent.keeper.ensure().await?;
    let after = agent.keeper.client().session_token();
    match before.is_some_and(|before| after.is_some_and(|after| before.same(&after))) {
        true => Ok(None),
        false => agent.keeper.watch_from(paths, from).await.map(Some),
    }
}

/// Events that came together, and why no more will.
struct Batch {
    events: Vec<Event>,
    end: Option<String>,
}

async fn gather(watch: &mut Watch, first: Result<Option<Event>, Error>) -> Batch {
    let mut batch = Batch { events: Vec::new(), end: None };
    let mut next = first;
    loop {
        match next {
            Ok(Some(event)) => batch.events.push(event),
            Ok(None) => batch.end = Some("the vault closed the stream".to_owned()),
            Err(error) => batch.end = Some(told(&error)),
        }
        if batch.end.is_some() || batch.events.len() >= BURST_MAX || batch.events.last() == Some(&Event::SessionEnd) {
            return batch;
        }
        match timeout(QUIET, watch.next()).await {
            Ok(more) => next = more,
            Err(_) => return batch,
        }
    }
}

/// Brings the files to what the events say.
async fn handle(agent: &mut Agent, paths: &[String], events: &[Event]) -> Result<(), String> {
    let (mut due, mut withheld) = (BTreeSet::new(), false);
    for event in events {
        match event {
            Event::Changed { path, version } if paths.contains(path) && agent.announce(path, *version) => {
                due.insert(path.clone());
            }
            Event::Unavailable { path } if paths.contains(path) => {
                due.remove(path);
                agent.withdraw(path);
            }
            Event::Withheld { path } if paths.contains(path) => {
                due.remove(path);
                withheld |= agent.withhold_path(path);
            }
            Event::Resync => due.extend(paths.iter().cloned()),
            _ => {}
        }
    }
    match due.is_empty() && !withheld {
        true => Ok(()),
        false => {
            let sources = agent.changed(&due);
            refresh(agent, sources).await
        }
    }
}

/// Waits until then; for ever where there is no such moment.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// Renews the credentials that are due, and has those made anew that cannot be renewed.
async fn tend(agent: &mut Agent) -> Result<(), String> {
    let Tended { renewed, replace } = agent.renew_credentials().await;
    match replace.is_empty() && !renewed {
        true => Ok(()),
        // A file may say when its credential ends.
        false => refresh(agent, replace).await,
    }
}

/// Reads these secrets and writes the files. A secret that is refused keeps its last value. Where a file cannot be made
/// of the new values, all files stay as they are until the next change; where it cannot be written, it is an error.
async fn refresh(agent: &mut Agent, sources: Vec<Source>) -> Result<(), String> {
    let read = agent.read(sources).await;
    match agent.write() {
        Ok(written) => {
            if written == Written::Changed {
                notify(agent).await;
            }
            agent.acknowledge().await;
        }
        Err(failure @ Failure::Output(_)) => return Err(format!("the files stay as they were: {failure}")),
        Err(failure) => tracing::error!("the files stay as they were: {failure}"),
    }
    match read {
        Ok(()) => Ok(()),
        Err(Trouble::Refused(why)) => {
            for line in why.lines() {
                tracing::warn!("{line}");
            }
            Ok(())
        }
        Err(Trouble::Config(why) | Trouble::Away(why)) => Err(why),
    }
}

async fn notify(agent: &Agent) {
    let Some(notify) = &agent.config.notify else { return };
    match notify.action.run().await {
        Ok(()) => tracing::info!("told the application: {}", notify.action),
        Err(error) => tracing::warn!("the application was not told: {error}"),
    }
}
