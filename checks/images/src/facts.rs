//! What is known of an image, before anything is judged.

use std::collections::{BTreeMap, BTreeSet};

use coffer_packages::{Distribution, Package};
use coffer_registry::{Digest, Reference};

use crate::{Rule, secrets::What, signature::Signatures, source::Config};

/// Everything that the checks look at.
#[derive(Debug, Default)]
pub struct Facts {
    /// What it is called in its registry; none where it comes from somewhere else.
    pub reference: Option<Reference>,
    /// The signatures that lie beside it; none where nobody looked.
    pub signatures: Option<Signatures>,
    /// The digest of the index that the image was chosen from.
    pub index: Option<Digest>,
    /// All images of that index, this one among them; empty where it leads to another index first.
    pub index_images: Vec<Digest>,
    /// The digest of its manifest.
    pub manifest: Option<Digest>,
    /// The digest of its configuration.
    pub config_digest: Option<Digest>,
    /// Its configuration.
    pub config: Config,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerFacts>,
    /// Secrets, wherever they are.
    pub secrets: Vec<Secret>,
    /// Whether there were more than are told.
    pub has_more_secrets: bool,
    /// How many marks of what the vault stores were looked for; none where nobody asked.
    pub stored_marks: Option<usize>,
    /// What is remarkable about files that can be seen in the image, by path.
    pub files: BTreeMap<String, BTreeSet<Remark>>,
    /// Whether there were more than are told.
    pub has_more_files: bool,
    /// The text of `/etc/shadow`, as far as users without a password go: their names.
    pub users_without_password: Vec<String>,
    /// The distribution that it is made of, as `os-release` names it.
    pub distribution: Option<Distribution>,
    /// Packages that can be seen in the image, and the files that tell of each.
    pub packages: BTreeMap<Package, Vec<String>>,
    /// Files that could tell of more, and why they do not.
    pub unread_packages: BTreeMap<String, String>,
}

/// A layer.
#[derive(Debug)]
pub struct LayerFacts {
    /// Its name: the digest of what is stored, or of what is in it.
    pub name: String,
    /// How reading it came out.
    pub outcome: Outcome,
    /// Files in it.
    pub files: u64,
    /// Bytes in it when it is not compressed.
    pub bytes: u64,
    /// Whether an archive in it was not looked into.
    pub is_partial: bool,
}

/// How reading a layer came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was read to its end.
    Read,
    /// It was not read, or not to its end.
    Unread(String),
    /// It is made so that it does harm, or so that readers differ about what is in it.
    Malformed(String),
    /// What was read is not what its digest names.
    WrongDigest(String),
}

/// A secret in an image.
#[derive(Debug)]
pub struct Secret {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub place: Place,
    /// Its line there, from 1.
    pub line: Option<u64>,
    /// The layer that takes it out of sight, by number from 1: whoever has the image still has it.
    pub gone_in: Option<usize>,
}

/// What a secret is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Something that a rule knows.
    Known(&'static Rule),
    /// A file that programs log in with.
    Credentials(&'static str),
    /// A file of settings with values that look secret.
    Settings,
    /// The value of a variable whose name says that it is secret.
    Variable,
    /// A value that the vault stores.
    Stored,
}

impl From<What> for Kind {
    fn from(what: What) -> Self {
        match what {
            What::Like(rule) => Self::Known(rule),
            What::Stored => Self::Stored,
        }
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file.
    File {
        /// The layer's number, from 1.
        layer: usize,
        /// The path in the image.
        path: String,
        /// The place in the archive that the file is; empty where it is none.
        within: String,
    },
    /// In a variable of the environment.
    Env(String),
    /// In a step of the history, from 1.
    History(usize),
    /// In a label or an annotation.
    Label(String),
    /// In a command: its name.
    Command(&'static str),
}

/// What is remarkable about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// It runs as its owner or group.
    SetId,
    /// It has capabilities.
    Capabilities,
    /// Everybody may write it.
    WorldWritable,
    /// The repository of a program's source.
    Repository,
    /// What somebody typed, or where they logged in; or a core dump.
    Trace,
    /// The server of secure shell.
    SshServer,
    /// A shell, a package manager, a compiler: of use to whoever breaks in.
    Tool,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { layer, path, within } if within.is_empty() => write!(f, "layer {layer}: /{path}"),
            Self::File { layer, path, within } => write!(f, "layer {layer}: /{path}!{within}"),
            Self::Env(name) => write!(f, "environment: {name}"),
            Self::History(step) => write!(f, "history: step {step}"),
            Self::Label(name) => write!(f, "label: {name}"),
            Self::Command(name) => write!(f, "{name}"),
        }
    }
}
