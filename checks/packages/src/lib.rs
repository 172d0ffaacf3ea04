//! Packages of images: what distributions have installed, what is built into programs, which advisories are about it.
//!
//! It is handed bytes and gives back structs: it opens no file and knows no image. [`Database`] and [`Program`] read, [`compare`] knows
//! each ecosystem's order of versions, [`Advisories`] are put together by an [`Importer`], and [`bill`] writes a bill of materials.

mod advisories;
mod database;
mod package;
mod program;
mod sbom;
mod support;
mod version;

pub use advisories::{
    ADVISORIES_MAX, ADVISORY_BYTES_MAX, Advisories, Advisory, FILE_BYTES_MAX, FileError, ImportError, Imported, Importer, Match,
    SUMMARY_CHARS_MAX, Span, UNPACKED_BYTES_MAX, scope,
};
pub use database::{DATABASE_BYTES_MAX, Database, Listed};
pub use package::{Distribution, Ecosystem, PACKAGE_TEXT_BYTES_MAX, Package, Source};
pub use program::{BUILT_IN_BYTES_MAX, BuiltIn, CANDIDATES_MAX, CRATES_BYTES_MAX, GO_WORDS_MAX, PARTS_MAX, Program};
pub use sbom::{Subject, bill, purl};
pub use support::SUPPORT_TABLE_DAY;
pub use version::compare;
