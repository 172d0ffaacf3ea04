use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::nameless_debug;

/// A fixed number of bytes that open something: keys.
#[derive(ZeroizeOnDrop)]
pub struct SecretArray<const N: usize>(Box<[u8; N]>);

nameless_debug!(SecretArray<const N: usize>);

impl<const N: usize> SecretArray<N> {
    /// `N` zeros that `fill` then writes over, in their final place.
    #[must_use]
    pub fn zeroed_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut array = Self(Box::new([0; N]));
        fill(&mut array.0);
        array
    }

    /// As [`zeroed_with`](Self::zeroed_with), where `fill` may fail.
    ///
    /// # Errors
    /// The error of `fill`; what it wrote is wiped then.
    pub fn try_zeroed_with<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut array = Self(Box::new([0; N]));
        fill(&mut array.0)?;
        Ok(array)
    }

    /// The bytes of `source`, which is wiped.
    #[must_use]
    pub fn taken_from(source: &mut [u8; N]) -> Self {
        let array = Self::copied_from(source);
        source.zeroize();
        array
    }

    /// A copy of `bytes`, which stay the caller's to wipe.
    #[must_use]
    pub fn copied_from(bytes: &[u8; N]) -> Self {
        Self::zeroed_with(|array| array.copy_from_slice(bytes))
    }

    /// The bytes, to be used in the smallest scope there is.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, to be changed in place.
    #[must_use]
    pub const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// A second owner of the same bytes.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::copied_from(&self.0)
    }

    /// Whether both hold the same bytes, in constant time.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }

    /// How many bytes there are: `N`.
    #[must_use]
    pub const fn len(&self) -> usize {
        N
    }

    /// Whether `N` is zero.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        N == 0
    }
}

impl<const N: usize> TryFrom<&[u8]> for SecretArray<N> {
    type Error = core::array::TryFromSliceError;

    /// A copy of `bytes`, which stay the caller's to wipe, where they are `N`.
    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self::copied_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_the_type_alone() {
        assert_eq!(format!("{:?}", SecretArray::copied_from(b"canary")), "SecretArray");
    }

    #[test]
    fn taking_wipes_the_source() {
        let mut source = *b"canary";
        let secret = SecretArray::taken_from(&mut source);
        assert_eq!((secret.expose(), source), (b"canary", [0; 6]));
    }

    #[test]
    fn moving_the_owner_leaves_the_bytes_where_they_are() {
        let secret = SecretArray::copied_from(b"canary");
        let place = secret.expose().as_ptr();
        let moved = Some(secret);
        assert_eq!(moved.map(|secret| secret.expose().as_ptr()), Some(place));
    }

    #[test]
    fn only_equal_arrays_are_the_same() {
        let secret = SecretArray::copied_from(b"canary");
        assert!(secret.same(&secret.duplicate()));
        assert!(!secret.same(&SecretArray::copied_from(b"canarx")));
        assert!(SecretArray::<6>::try_from(b"canar".as_slice()).is_err());
        assert!(SecretArray::<6>::try_from(b"canary".as_slice()).unwrap().same(&secret));
    }

    #[test]
    fn a_failed_initialiser_yields_its_error() {
        assert_eq!(SecretArray::<4>::try_zeroed_with(|_| Err("no")).err(), Some("no"));
    }
}
