//! Passwords of operators: Argon2id (RFC 9106), kept as PHC strings.
//!
//! A hash takes [`MEMORY_KIB`] of memory and tens of milliseconds of a core: whoever calls this bounds how many run at once, and
//! does not call it on a thread that serves others. The memory that Argon2 worked in is wiped.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use coffer_secret::SecretString;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::random::{self, RandomError};

/// KiB of memory that a new hash takes: 19 MiB, with [`PASSES`] and [`LANES`] the first choice of OWASP's Password
/// Storage Cheat Sheet.
pub const MEMORY_KIB: u32 = 19_456;
/// Passes over the memory.
pub const PASSES: u32 = 2;
/// Lanes: what one core does.
pub const LANES: u32 = 1;
/// KiB of memory that a stored hash may ask for: a tampered one must not take the server's memory.
pub const MEMORY_KIB_MAX: u32 = 256 << 10;
/// Passes that a stored hash may ask for.
pub const PASSES_MAX: u32 = 16;
/// Lanes that a stored hash may ask for.
pub const LANES_MAX: u32 = 16;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Why a password was not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// No salt.
    #[error("no salt")]
    Random(#[from] RandomError),
    /// No memory to hash in.
    #[error("no memory to hash in")]
    Memory,
}

/// Hashes a password with a new salt: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
///
/// # Errors
/// [`HashError`].
pub fn hash(password: &SecretString) -> Result<String, HashError> {
    let stored = Stored { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt: random::bytes()?, hash: [0; HASH_BYTES] };
    let hash = stored.computed(password).ok_or(HashError::Memory)?;
    Ok(Stored { hash: *hash, ..stored }.text())
}

/// Whether `password` is the one that was hashed. What is no hash of this module's making, or asks for more memory
/// or time than the limits here, is that of no password.
#[must_use]
pub fn verify(password: &SecretString, phc: &str) -> bool {
    let Some(stored) = Stored::parse(phc) else { return false };
    stored.computed(password).is_some_and(|hash| hash.ct_eq(&stored.hash).into())
}

/// Takes as long as [`verify`] does with a hash of today's parameters, and is always wrong: for names that nobody has.
#[must_use]
pub fn dummy(password: &SecretString) -> bool {
    let nobody = Stored { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt: [0; SALT_BYTES], hash: [0; HASH_BYTES] };
    let right = nobody.computed(password).is_some_and(|hash| hash.ct_eq(&nobody.hash).into());
    std::hint::black_box(right);
    false
}

/// Whether a stored hash was made with other parameters than today's, and is to be made again at the next login.
#[must_use]
pub fn is_outdated(phc: &str) -> bool {
    Stored::parse(phc).is_none_or(|stored| (stored.memory_kib, stored.passes, stored.lanes) != (MEMORY_KIB, PASSES, LANES))
}

/// What a PHC string says.
struct Stored {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl Stored {
    fn text(&self) -> String {
        let Self { memory_kib, passes, lanes, .. } = self;
        let (salt, hash) = (STANDARD_NO_PAD.encode(self.salt), STANDARD_NO_PAD.encode(self.hash));
        format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
    }

    fn parse(phc: &str) -> Option<Self> {
        let mut parts = phc.strip_prefix("$argon2id$v=19$")?.split('$');
        let (parameters, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let mut parameters = parameters.split(',');
        let mut number = |name: &str, max: u32| {
            let number: u32 = parameters.next()?.strip_prefix(name)?.parse().ok()?;
            (1..=max).contains(&number).then_some(number)
        };
        let (memory_kib, passes, lanes) = (number("m=", MEMORY_KIB_MAX)?, number("t=", PASSES_MAX)?, number("p=", LANES_MAX)?);
        let salt = STANDARD_NO_PAD.decode(salt).ok()?.try_into().ok()?;
        let hash = STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?;
        let stored = Self { memory_kib, passes, lanes, salt, hash };
        // There is one way to write it.
        (stored.text() == phc).then_some(stored)
    }

    /// The hash of `password` with these parameters and this salt.
    fn computed(&self, password: &SecretString) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
        let parameters = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH_BYTES)).ok()?;
        let mut memory = Memory::of(parameters.block_count())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
        let mut hash = Zeroizing::new([0; HASH_BYTES]);
        argon2
            .hash_password_into_with_memory(password.expose().as_bytes(), &self.salt, &mut *hash, memory.0.as_mut_slice())
            .ok()?;
        Some(hash)
    }
}

/// What Argon2 works in.
struct Memory(Vec<Block>);

impl Memory {
    fn of(blocks: usize) -> Option<Self> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(blocks).ok()?;
        memory.resize(blocks, Block::default());
        Some(Self(memory))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Block::zeroize);
    }
}

#[cfg(test)]
mod tests;
