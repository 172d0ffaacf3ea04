//! Secrets that are nowhere but where they belong: what a test hands out is noted here, and afterwards searched for in all
//! that is left.
//!
//! [`Canaries`] are the secrets; a [`Search`] looks for them in files, folders and processes, in every form in which they
//! could lie about. A search that can find nothing proves nothing: each plants a control of its own in each folder, and has
//! to find it.

mod forms;
mod search;

use std::sync::{Mutex, PoisonError};

use anyhow::Result;

pub use self::search::{Leak, Search};

/// Below this a text may be anywhere by chance: it is no canary.
pub const CANARY_BYTES_MIN: usize = 12;

/// The secrets that a test has handed out.
#[derive(Debug, Default)]
pub struct Canaries(Mutex<Vec<(String, Vec<u8>)>>);

impl Canaries {
    /// Notes a secret, by what it is; one that is too short to be told from chance is not noted.
    pub fn add(&self, name: &str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if secret.len() >= CANARY_BYTES_MIN && !known.iter().any(|(_, other)| other == secret) {
            known.push((name.to_owned(), secret.to_vec()));
        }
    }

    /// Whether a secret is noted.
    #[must_use]
    pub fn has(&self, secret: impl AsRef<[u8]>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(_, known)| known == secret.as_ref())
    }

    /// A new secret of 36 characters, noted.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn fresh(&self, name: &str) -> Result<String> {
        let secret = crate::issuer::uuid()?;
        self.add(name, &secret);
        Ok(secret)
    }

    /// Notes all that another list has, too.
    pub fn add_all(&self, others: &Self) {
        let others = others.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, secret) in others {
            self.add(&name, secret);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A search for those noted so far.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn search(&self) -> Result<Search> {
        Search::new(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
