//! Types for bytes and strings that open something: wiped, never printed.
//!
//! Three owners: [`SecretBytes`] for what has any length, [`SecretString`] for text, [`SecretArray`] for keys. Each
//! keeps its content in one place on the heap, so that moving the owner copies nothing; wipes it, spare capacity
//! included, when dropped; prints its type and nothing more; and cannot be cloned, serialised or compared by `==`.
//! Reading is explicit ([`SecretBytes::expose`]), copying is explicit ([`SecretBytes::duplicate`]), and comparison
//! takes the same time whatever the content ([`SecretBytes::same`]).
//!
//! What this does not do: memory is not locked and not hidden from a debugger, and whatever a caller copies out of
//! `expose` is the caller's to wipe.

mod array;
mod bytes;
mod string;

pub use array::SecretArray;
pub use bytes::SecretBytes;
pub use string::{NotText, SecretString};

/// Prints the name of the type, nothing of the content.
macro_rules! nameless_debug {
    ($name:ident $(<const $parameter:ident: usize>)?) => {
        impl$(<const $parameter: usize>)? core::fmt::Debug for $name$(<$parameter>)? {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}
use nameless_debug;

#[cfg(test)]
mod tests {
    use super::{SecretArray, SecretBytes, SecretString};

    /// Compiles only while no secret has `==`, which would take as long as two secrets agree: each call is ambiguous for a
    /// type that has it.
    #[test]
    fn no_secret_can_be_compared_with_an_operator() {
        trait Compares<Which> {
            fn check() -> bool {
                true
            }
        }
        impl<T: ?Sized> Compares<()> for T {}
        struct WithOperator;
        impl<T: ?Sized + PartialEq> Compares<WithOperator> for T {}
        assert!(<SecretBytes as Compares<_>>::check());
        assert!(<SecretString as Compares<_>>::check());
        assert!(<SecretArray<32> as Compares<_>>::check());
    }
}
