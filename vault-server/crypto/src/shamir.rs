//! Shamir's sharing of 32-byte secrets over GF(2^8), the field of AES (polynomial 0x11b).
//!
//! Each byte of the secret is the value at zero of a random polynomial of degree `threshold - 1`; a share is its
//! value at the share's index. Arithmetic takes the same time whatever the secret: no table is indexed and no branch
//! is taken by anything but indices and numbers of shares, which are public.
//!
//! Shares as such prove nothing: any 32 bytes are a share of something. What tells a right share from a wrong one is
//! [`crate::share`].

use coffer_core::limits::SHARES_MAX;
use coffer_secret::SecretArray;

use crate::random::{self, RandomError};

/// Bytes in a secret, and in a share.
pub const SECRET_BYTES: usize = 32;

/// Why a secret was not split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Not 1 to [`SHARES_MAX`] shares; or a threshold of none, of more than there are, or of one among several,
    /// where each share would be the secret itself.
    #[error("1 to {SHARES_MAX} shares, of which at least 2 are needed, or the only one")]
    Numbers,
    /// No random numbers.
    #[error("no random numbers")]
    Random(#[from] RandomError),
}

/// Why points do not make a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("points must be 1 to {SHARES_MAX}, with indices of their own and none of them zero")]
pub struct CombineError;

/// One share: the polynomials' values at an index.
#[derive(Debug)]
pub struct Point {
    /// The index, 1 to [`SHARES_MAX`].
    pub index: u8,
    /// The values, one for each byte of the secret.
    pub values: SecretArray<SECRET_BYTES>,
}

/// Splits `secret` into `count` shares of which any `threshold` make it again, and fewer say nothing about it.
///
/// # Errors
/// [`SplitError`].
pub fn split(secret: &SecretArray<SECRET_BYTES>, threshold: u8, count: u8) -> Result<Vec<Point>, SplitError> {
    let numbers = count <= SHARES_MAX && threshold <= count && (threshold >= 2 || (threshold, count) == (1, 1));
    if !numbers {
        return Err(SplitError::Numbers);
    }
    // Coefficients of x^1 and up, a set for each byte of the secret. All of 0..=255 is as likely, zero included:
    // anything else would tell something about the secret.
    let coefficients: Vec<SecretArray<SECRET_BYTES>> = (1..threshold).map(|_| random::array()).collect::<Result<_, _>>()?;
    Ok((1..=count).map(|index| Point { index, values: evaluate(secret, &coefficients, index) }).collect())
}

/// The secret that these points are shares of: all of them are used. Too few, or one that is wrong, make another
/// secret, and nothing here can tell.
///
/// # Errors
/// [`CombineError`].
pub fn combine(points: &[&Point]) -> Result<SecretArray<SECRET_BYTES>, CombineError> {
    let indices: Vec<u8> = points.iter().map(|point| point.index).collect();
    let distinct = indices.iter().enumerate().all(|(at, index)| *index != 0 && !indices.iter().skip(at + 1).any(|x| x == index));
    if points.is_empty() || points.len() > usize::from(SHARES_MAX) || !distinct {
        return Err(CombineError);
    }
    Ok(SecretArray::zeroed_with(|secret| {
        for point in points {
            let weight = weight_at_zero(point.index, &indices);
            for (byte, value) in secret.iter_mut().zip(point.values.expose()) {
                *byte ^= multiply(weight, *value);
            }
        }
    }))
}

/// The polynomials' values at `index`, by Horner's rule.
fn evaluate(
    secret: &SecretArray<SECRET_BYTES>,
    coefficients: &[SecretArray<SECRET_BYTES>],
    index: u8,
) -> SecretArray<SECRET_BYTES> {
    SecretArray::zeroed_with(|values| {
        for coefficient in coefficients.iter().rev().chain([secret]) {
            for (value, byte) in values.iter_mut().zip(coefficient.expose()) {
                *value = multiply(*value, index) ^ byte;
            }
        }
    })
}

/// Lagrange's weight of the point at `index` for the value at zero: the product of x / (x - index) over the others.
fn weight_at_zero(index: u8, indices: &[u8]) -> u8 {
    let others = indices.iter().filter(|other| **other != index);
    others.fold(1, |weight, other| multiply(weight, multiply(*other, inverse(other ^ index))))
}

/// The product of two elements of the field: eight shifts and additions, masked rather than branched.
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product, mut bit) = (a, 0, 0);
    while bit < 8 {
        product ^= a & 0_u8.wrapping_sub((b >> bit) & 1);
        a = (a << 1) ^ (0x1b & 0_u8.wrapping_sub(a >> 7));
        bit += 1;
    }
    product
}

/// The inverse of an element, as its 254th power; zero for zero.
const fn inverse(a: u8) -> u8 {
    // 254 = 2 + 4 + 8 + ... + 128.
    let (mut square, mut power, mut step) = (a, 1, 0);
    while step < 7 {
        square = multiply(square, square);
        power = multiply(power, square);
        step += 1;
    }
    power
}

#[cfg(test)]
mod tests;
