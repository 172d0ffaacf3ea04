//! Images in registries: what a tag stands for now, manifests, and blobs, each checked against its digest.
//!
//! A registry is somebody else's: all that it answers has a bound and a deadline, and what does not match the digest is an error. Nothing is
//! written to a registry, and a credential goes to the registry that it is for, or to the token service that it names, over TLS alone.
//!
//! Begin at [`Client`]; what it is asked about is a [`Reference`].
//!
//! There is `oci-client`, which this could have been. It takes whole answers into memory, however long (manifests, tokens, errors), has no
//! deadline for an answer as a whole, keeps credentials in plain strings, and brings a second HTTP client with it. What is needed of the protocol (one
//! `GET`, two ways to log in) is small.

mod answer;
mod blob;
mod challenge;
mod client;
mod credentials;
mod digest;
mod error;
mod origin;
mod reference;
mod referrers;
mod scope;
mod transport;

pub use blob::Blob;
pub use client::{Client, Manifest, Registries};
pub use credentials::Credentials;
pub use digest::{Digest, NoDigest};
pub use error::{Error, SettingsError};
pub use reference::{Reference, ReferenceError};
pub use referrers::REFERRER_PAGES_MAX;
pub use scope::{Scope, ScopeError};
