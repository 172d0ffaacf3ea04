//! Checks of container images, without a container engine: OCI layouts and archives of both formats.
//!
//! Facts are gathered in one pass over each layer, as a stream: nothing is unpacked onto a disk, and memory is bounded whatever a layer
//! has in it. The checks judge those facts.
//!
//! Signatures that lie beside an image are read by [`Image::signatures`], and verified by what a site trusts: [`Trust`].

mod checks;
mod content;
mod digest;
mod entries;
mod facts;
mod files;
mod gather;
mod inventory;
#[cfg(test)]
mod kit;
mod secrets;
mod signature;
mod source;
mod texts;
mod trust;
mod unpack;
mod view;

pub use checks::{AGE_DAYS_MAX, Against, ImageCheck, VULNERABILITIES_MAX, catalogue, judge, judge_against};
pub use coffer_registry::Digest;
pub use content::{NESTED_BYTES_MAX, NESTING_MAX, ZIP_BYTES_MAX};
pub use facts::{Facts, Kind, LayerFacts, Outcome, Place, Remark, Secret};
pub use files::KNOWN_FILE_BYTES_MAX;
pub use gather::{BOMB_BYTES_MIN, FILES_MAX, LAYER_BYTES_MAX, Progress, RATIO_MAX, SECRETS_MAX, gather, gather_with};
pub use inventory::{PACKAGES_MAX, PLACES_MAX};
pub use secrets::{Certainty, FILE_SECRETS_MAX, Found, Rule, Scanner, Stored, What, rules};
pub use signature::{Claim, Content, More, SIGNATURE_BYTES_MAX, SIGNATURES_MAX, Signature, Signatures, Verdict};
pub use source::{
    Choice, Config, DOCUMENT_BYTES_MAX, Healthcheck, History, Image, LAYERS_MAX, LayerSource, OpenError, RootFs, Run,
};
pub use trust::{BASES_MAX, Base, KEYS_MAX, SCOPES_MAX, Trust, TrustError, TrustFile};
pub use view::REMARKABLE_FILES_MAX;
