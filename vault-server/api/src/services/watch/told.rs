//! What a watch has been told, and the sealed token that a later one goes on with.

use std::{collections::BTreeSet, future::pending};

use coffer_core::{clock::Timestamp, limits::WATCH_PATHS_MAX, path::Path};
use coffer_vault::{Failure, Newest};

use super::until;
use crate::pipeline::Call;

/// The version of what is in a token.
const VERSION: u8 = 1;
/// Bytes in a token for each path: the version, and when it was written.
const STATE_BYTES: usize = 16;
/// A token of the most paths is shorter than any token may be (8,192 characters, a third of them for base64).
const _: () = assert!(WATCH_PATHS_MAX * STATE_BYTES < 4_096, "a token has room for every path of a watch");
/// What stands in the version's place for a path of which nothing was told.
const NOTHING: u64 = u64::MAX;

/// What was told of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// That it cannot be read.
    Unavailable,
    /// That the conditions do not hold on which it would be given.
    Withheld,
    /// That a credential can be had, which is made for each who asks.
    Offered,
    /// Its newest version.
    Version(Newest),
}

/// What policy says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// It may not be read.
    #[default]
    Denied,
    /// It may not, for conditions do not hold.
    Withheld,
    /// It may be read.
    Permitted,
}

/// What was told of each path; none where nothing was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told(Vec<Entry>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Entry {
    state: Option<State>,
    /// What policy said when it was looked at last.
    standing: Standing,
}

impl Told {
    pub(super) fn nothing(paths: &[Path]) -> Self {
        Self(vec![Entry::default(); paths.len()])
    }

    /// What a token says that was given out to this principal for these paths; none for any other text.
    pub(super) fn open(call: &Call, paths: &[Path], token: &str) -> Option<Self> {
        let bytes = call.vault.open_resume_token(&context(call, paths), token)?;
        Self::decode(bytes.expose(), paths.len())
    }

    pub(super) fn seal(&self, call: &Call, paths: &[Path]) -> Result<String, Failure> {
        call.vault.resume_token(&context(call, paths), &self.encode())
    }

    /// The state to tell of a path as it is found now: none where it was told. A secret that was made anew is told to be
    /// gone first, since its version may be one that the reader knows.
    pub(super) fn differs(&mut self, at: usize, standing: Standing, found: State) -> Option<State> {
        let entry = self.0.get_mut(at)?;
        entry.standing = standing;
        match (entry.state, found) {
            (Some(State::Version(told)), State::Version(newest))
                if told.version == newest.version && told.created == newest.created =>
            {
                // The token does not tell when a version expires.
                entry.state = Some(State::Version(newest));
                None
            }
            (Some(State::Version(told)), State::Version(newest)) if newest.version <= told.version => Some(State::Unavailable),
            (_, State::Version(newest)) => Some(State::Version(newest)),
            (told, found) if told == Some(found) => None,
            (_, found) => Some(found),
        }
    }

    pub(super) fn note(&mut self, at: usize, state: State) {
        if let Some(entry) = self.0.get_mut(at) {
            entry.state = Some(state);
        }
    }

    /// What policy said of a path when it was looked at last.
    pub(super) fn standing(&self, at: usize) -> Standing {
        self.0.get(at).map(|entry| entry.standing).unwrap_or_default()
    }

    /// Waits for the next moment at which a version expires; gives the places of those that have then. Waits for ever
    /// where none does.
    pub(super) async fn expiry(&self, now: Timestamp) -> BTreeSet<usize> {
        let expiries = || self.0.iter().enumerate().filter_map(|(at, entry)| Some((at, entry.expires()?)));
        let Some(next) = expiries().map(|(_, expires)| expires).min() else { return pending().await };
        until(next, now).await;
        expiries().filter(|(_, expires)| *expires <= next).map(|(at, _)| at).collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.0.len() * STATE_BYTES);
        bytes.push(VERSION);
        for entry in &self.0 {
            let (version, created) = match entry.state {
                None => (NOTHING, 0),
                Some(State::Unavailable) => (0, 0),
                Some(State::Withheld) => (0, 1),
                Some(State::Offered) => (0, 2),
                Some(State::Version(newest)) => (newest.version, newest.created.millis()),
            };
            bytes.extend(version.to_be_bytes());
            bytes.extend(created.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8], paths: usize) -> Option<Self> {
        let (states, rest) = bytes.strip_prefix(&[VERSION])?.as_chunks::<STATE_BYTES>();
        if states.len() != paths || !rest.is_empty() {
            return None;
        }
        let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
        let entries = states.iter().map(|bytes| {
            let (version, created) = bytes.split_at(STATE_BYTES / 2);
            let state = match number(version)? {
                NOTHING => None,
                0 => Some(match number(created)? {
                    1 => State::Withheld,
                    2 => State::Offered,
                    _ => State::Unavailable,
                }),
                version => {
                    let created = Timestamp::from_millis(number(created)?);
                    Some(State::Version(Newest { version, created, expires: None }))
                }
            };
            Some(Entry { state, standing: Standing::Denied })
        });
        entries.collect::<Option<Vec<_>>>().map(Self)
    }
}

impl Entry {
    fn expires(&self) -> Option<Timestamp> {
        match self.state {
            Some(State::Version(newest)) => newest.expires,
            Some(State::Unavailable | State::Withheld | State::Offered) | None => None,
        }
    }
}

/// Whom a token is for, and for which paths: each with its length before it.
fn context(call: &Call, paths: &[Path]) -> Vec<u8> {
    let principal = call.who.caller.principal.to_string();
    let mut context = Vec::with_capacity(256);
    for text in [principal.as_str()].into_iter().chain(paths.iter().map(Path::as_str)) {
        context.extend((text.len() as u64).to_be_bytes());
        context.extend(text.as_bytes());
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(version: u64, created: u64) -> Newest {
        Newest { version, created: Timestamp::from_millis(created), expires: None }
    }

    fn told(states: &[Option<State>]) -> Told {
        Told(states.iter().map(|state| Entry { state: *state, standing: Standing::Denied }).collect())
    }

    #[test]
    fn what_was_told_comes_back_from_its_bytes() {
        let states = [State::Unavailable, State::Withheld, State::Offered, State::Version(newest(7, 1_000))];
        let told = told(&[None].into_iter().chain(states.map(Some)).collect::<Vec<_>>());
        let bytes = told.encode();
        assert_eq!(Told::decode(&bytes, 5), Some(told));
        for (bytes, paths) in [(&bytes[..], 4), (&bytes[..], 6), (&bytes[1..], 5), (&bytes[..bytes.len() - 1], 5), (&[], 0)] {
            assert_eq!(Told::decode(bytes, paths), None);
        }
    }

    #[test]
    fn only_what_differs_is_told() {
        let (seven, nine) = (State::Version(newest(7, 1_000)), State::Version(newest(9, 2_000)));
        let mut told = told(&[None, Some(State::Unavailable), Some(seven), Some(State::Withheld)]);
        let mut differs = |at, found| told.differs(at, Standing::Permitted, found);
        assert_eq!(differs(0, State::Unavailable), Some(State::Unavailable));
        assert_eq!(differs(0, State::Version(newest(1, 1))), Some(State::Version(newest(1, 1))));
        assert_eq!(differs(1, State::Unavailable), None);
        assert_eq!(differs(1, State::Withheld), Some(State::Withheld));
        assert_eq!(differs(1, State::Version(newest(1, 1))), Some(State::Version(newest(1, 1))));
        assert_eq!((differs(2, seven), differs(2, nine)), (None, Some(nine)));
        assert_eq!(differs(2, State::Withheld), Some(State::Withheld));
        assert_eq!((differs(3, State::Withheld), differs(3, seven)), (None, Some(seven)));
    }

    #[test]
    fn a_secret_made_anew_is_told_to_be_gone_before() {
        let mut told = told(&[Some(State::Version(newest(7, 1_000)))]);
        for again in [newest(1, 2_000), newest(7, 2_000)] {
            told.note(0, State::Version(newest(7, 1_000)));
            let found = State::Version(again);
            assert_eq!(told.differs(0, Standing::Permitted, found), Some(State::Unavailable));
            told.note(0, State::Unavailable);
            assert_eq!(told.differs(0, Standing::Permitted, found), Some(found));
        }
    }

    #[tokio::test]
    async fn the_versions_that_expire_first_are_due_then() {
        let now = Timestamp::from_millis(1_000);
        let at = |millis| Some(State::Version(Newest { expires: Some(Timestamp::from_millis(millis)), ..newest(1, 1) }));
        let told = told(&[None, at(1_020), at(1_010), at(1_010), Some(State::Version(newest(1, 1)))]);
        assert_eq!(told.expiry(now).await, BTreeSet::from([2, 3]));
    }
}
