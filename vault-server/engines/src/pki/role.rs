//! Roles: what certificates may say.

use std::sync::Arc;

use coffer_barrier::{Barrier, Batch, Expect, RecordKey, encoding};
use coffer_core::{
    clock::Timestamp,
    limits::{PKI_PATTERNS_MAX, PKI_ROLES_MAX, PKI_SUBJECT_CHARS_MAX, PKI_TTL_DEFAULT, PKI_TTL_MAX},
    principal::Name,
};
use coffer_crypto::{
    hash::sha256,
    x509::{ExtendedKeyUsage, KeyKind, KeyUsage},
};

use super::{
    Found, NamedPage, Pki, PkiError, Ready, Workload, decode,
    names::{self, Range},
    record::{IssuerRef, RoleRecord},
};
use crate::Planned;

/// What a role decides. Empty lists mean nothing, never anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    /// The issuer; none for the mount's default one, whichever that is when a certificate is made.
    pub issuer: Option<Name>,
    /// The hosts that may be asked for: `host`, `*.host` for names one label longer, `**.host` for all below, with
    /// `{namespace}`, `{service_account}` and `{cluster}` for what the caller is.
    pub hosts: Vec<String>,
    /// Whether wildcard names may be asked for, where the hosts cover all that they stand for.
    pub wildcards: bool,
    /// The addresses that may be asked for: `ADDRESS` or `ADDRESS/BITS`.
    pub addresses: Vec<String>,
    /// The URIs that may be asked for: whole, or all below one that ends in `/**`. With the same places to fill in.
    pub uris: Vec<String>,
    /// A SPIFFE id that each certificate has, with the same places, and then no other URI; empty for none.
    pub spiffe: String,
    /// The kinds of keys; the first that the vault can make is the one that it makes unless asked for another.
    pub key_types: Vec<KeyKind>,
    /// What keys may be used for.
    pub key_usages: Vec<KeyUsage>,
    /// What certificates may be used for.
    pub extended: Vec<ExtendedKeyUsage>,
    /// Whether the first host is the subject's common name as well, where it is short enough for one.
    pub common_name: bool,
    /// The subject's organisation; empty for none.
    pub organisation: String,
    /// How long a certificate lasts where nobody asks; 0 for [`PKI_TTL_DEFAULT`], or for the longest where that is shorter.
    pub ttl_secs: u64,
    /// How long one may last; 0 for as long as `ttl_secs` says.
    pub ttl_secs_max: u64,
    /// Whether nothing is kept of what is issued.
    pub no_store: bool,
}

/// A role as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleState {
    /// The name.
    pub name: Name,
    /// What it decides; nothing is left open here but the issuer.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// Whether its issuer is there: the one that was meant when the role was written.
    pub issuer_there: bool,
    /// Names this state: changes with every change.
    pub etag: String,
}

impl Role {
    /// Fills in what is left open, and checks the rest.
    fn settled(mut self) -> Result<Self, PkiError> {
        for (what, patterns) in [("hosts", &self.hosts), ("addresses", &self.addresses), ("URIs", &self.uris)] {
            if patterns.len() > PKI_PATTERNS_MAX {
                return Err(PkiError::Limit(format!("a role has at most {PKI_PATTERNS_MAX} patterns of {what}")));
            }
        }
        self.hosts.iter().try_for_each(|pattern| names::check_host_pattern(pattern))?;
        self.uris.iter().try_for_each(|pattern| names::check_uri_pattern(pattern))?;
        self.addresses.iter().try_for_each(|range| Range::parse(range).map(drop))?;
        self.check_spiffe()?;
        if self.hosts.is_empty() && self.addresses.is_empty() && self.uris.is_empty() && self.spiffe.is_empty() {
            return Err(PkiError::refused("a role says which names may be asked for: hosts, addresses, URIs or a SPIFFE id"));
        }
        if self.key_types.is_empty() {
            self.key_types = vec![KeyKind::P256];
        }
        if self.key_usages.is_empty() {
            self.key_usages = vec![KeyUsage::DigitalSignature];
        }
        if self.extended.is_empty() {
            self.extended = vec![ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth];
        }
        check_text("an organisation", &self.organisation)?;
        let longest = PKI_TTL_MAX.as_secs();
        if self.ttl_secs == 0 {
            let usual = PKI_TTL_DEFAULT.as_secs();
            self.ttl_secs = if self.ttl_secs_max == 0 { usual } else { usual.min(self.ttl_secs_max) };
        }
        if self.ttl_secs_max == 0 {
            self.ttl_secs_max = self.ttl_secs;
        }
        if self.ttl_secs_max > longest {
            return Err(PkiError::Limit(format!("certificates of a role last at most {longest} seconds")));
        }
        if self.ttl_secs > self.ttl_secs_max {
            return Err(PkiError::refused("certificates would last longer, unless asked otherwise, than they may"));
        }
        Ok(self)
    }

    /// A SPIFFE id has a trust domain and a path, and names the caller: all who use the role would be one otherwise.
    fn check_spiffe(&self) -> Result<(), PkiError> {
        if self.spiffe.is_empty() {
            return Ok(());
        }
        names::check_uri_pattern(&self.spiffe)?;
        let path = self.spiffe.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
        match path {
            Some((domain, path))
                if !domain.contains('{') && path.contains("{namespace}") && path.contains("{service_account}") => {}
            _ => {
                return Err(PkiError::refused(
                    "a SPIFFE id is spiffe://TRUST-DOMAIN/PATH with {namespace} and {service_account} in the path: spiffe://example.org/ns/{namespace}/sa/{service_account}",
                ));
            }
        }
        if self.spiffe.ends_with("/**") || !self.uris.is_empty() {
            return Err(PkiError::refused("a certificate with a SPIFFE id has no other URI"));
        }
        Ok(())
    }

    /// Checks that a name may be asked for.
    pub(super) fn check_name(&self, name: &super::SubjectName, workload: Option<Workload<'_>>) -> Result<(), PkiError> {
        use super::SubjectName::{Dns, Ip, Uri};
        names::check(name)?;
        let filled = |patterns: &[String], matches: &dyn Fn(&str) -> bool| {
            patterns.iter().filter_map(|pattern| names::filled(pattern, workload)).any(|pattern| matches(&pattern))
        };
        let may = match name {
            Dns(host) => filled(&self.hosts, &|pattern| names::host_matches(pattern, host, self.wildcards)),
            Uri(uri) => filled(&self.uris, &|pattern| names::uri_matches(pattern, uri)),
            Ip(address) => {
                self.addresses.iter().filter_map(|range| Range::parse(range).ok()).any(|range| range.contains(*address))
            }
        };
        if may { Ok(()) } else { Err(PkiError::told(format!("the role does not let {name} be asked for"))) }
    }

    /// The SPIFFE id of whoever asks; none where the role gives none.
    pub(super) fn spiffe_id(&self, workload: Option<Workload<'_>>) -> Result<Option<String>, PkiError> {
        if self.spiffe.is_empty() {
            return Ok(None);
        }
        // A Kubernetes name is a segment of a SPIFFE id, whatever it is.
        let id = names::filled(&self.spiffe, workload);
        id.map(Some).ok_or_else(|| PkiError::refused("the role gives a SPIFFE id, and only workloads have one"))
    }
}

/// Checks a part of a subject.
pub(super) fn check_text(what: &str, text: &str) -> Result<(), PkiError> {
    if text.chars().count() > PKI_SUBJECT_CHARS_MAX {
        return Err(PkiError::Limit(format!("{what} has at most {PKI_SUBJECT_CHARS_MAX} characters")));
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err(PkiError::told(format!("{what} has no control characters, and no space at its ends")));
    }
    Ok(())
}

impl RoleRecord {
    fn new(role: Role, issuer: Option<IssuerRef>, created: Timestamp) -> Self {
        Self {
            created,
            issuer,
            hosts: role.hosts,
            wildcards: role.wildcards,
            addresses: role.addresses,
            uris: role.uris,
            spiffe: role.spiffe,
            key_types: role.key_types.iter().map(|kind| kind.name().to_owned()).collect(),
            key_usages: role.key_usages.iter().map(|usage| usage.name().to_owned()).collect(),
            extended: role.extended.iter().map(|usage| usage.name().to_owned()).collect(),
            common_name: role.common_name,
            organisation: role.organisation,
            ttl_secs: role.ttl_secs,
            ttl_secs_max: role.ttl_secs_max,
            no_store: role.no_store,
        }
    }

    /// The role; its issuer is known by name, and by `issuer` for certain.
    pub(super) fn role(&self) -> Result<Role, PkiError> {
        fn named<T: Copy>(names: &[String], all: &[T], name: impl Fn(T) -> &'static str) -> Result<Vec<T>, PkiError> {
            let find = |wanted: &String| all.iter().copied().find(|one| name(*one) == wanted);
            names.iter().map(|wanted| find(wanted).ok_or_else(|| PkiError::damaged("a role"))).collect()
        }
        let issuer = self.issuer.as_ref().map(|issuer| issuer.name.parse()).transpose();
        Ok(Role {
            issuer: issuer.map_err(|_| PkiError::damaged("a role"))?,
            hosts: self.hosts.clone(),
            wildcards: self.wildcards,
            addresses: self.addresses.clone(),
            uris: self.uris.clone(),
            spiffe: self.spiffe.clone(),
            key_types: named(&self.key_types, KeyKind::ALL, KeyKind::name)?,
            key_usages: named(&self.key_usages, KeyUsage::OF_ROLES, KeyUsage::name)?,
            extended: named(&self.extended, ExtendedKeyUsage::ALL, ExtendedKeyUsage::name)?,
            common_name: self.common_name,
            organisation: self.organisation.clone(),
            ttl_secs: self.ttl_secs,
            ttl_secs_max: self.ttl_secs_max,
            no_store: self.no_store,
        })
    }

    /// What the record says, in half a digest: not which write of it this is, which re-encryption changes.
    fn etag(&self) -> Result<String, PkiError> {
        let [digest @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(encoding::encode(self)?.expose());
        Ok(format!("{:032x}", u128::from_be_bytes(digest)))
    }
}

/// A role that is ready to be followed.
pub(super) struct Ruling {
    pub(super) role: Role,
    /// The issuer that it names.
    pub(super) issuer: Option<IssuerRef>,
}

impl Pki {
    fn role_key(&self, name: &Name) -> Result<RecordKey, PkiError> {
        self.key([b"role".as_slice(), name.as_str().as_bytes()])
    }

    pub(super) async fn role_record(&self, barrier: &Barrier, name: &Name) -> Result<Option<Found<RoleRecord>>, PkiError> {
        self.find(barrier, self.role_key(name)?).await
    }

    /// A role, ready to be followed.
    pub(super) async fn ruling(&self, barrier: &Barrier, ready: &Ready, name: &Name) -> Result<Arc<Ruling>, PkiError> {
        let key = self.role_key(name)?;
        let stored = barrier.get(&key).await?.ok_or(PkiError::NotFound("role"))?;
        ready.rulings.of(&key, &stored, || {
            let record: RoleRecord = decode(&stored)?;
            Ok(Ruling { role: record.role()?, issuer: record.issuer })
        })
    }

    /// Plans a role, new or changed. `etag` is the state that the change is meant for: empty for any, `new` for none yet.
    pub async fn put_role(
        &self,
        barrier: &Barrier,
        name: &Name,
        role: Role,
        etag: &str,
        now: Timestamp,
    ) -> Result<Planned<RoleState>, PkiError> {
        let role = role.settled()?;
        let found = self.role_record(barrier, name).await?;
        match (&found, etag) {
            (_, "") | (None, "new") => {}
            (Some(found), etag) if found.record.etag()? == etag => {}
            _ => return Err(PkiError::Etag),
        }
        let issuer = match &role.issuer {
            Some(name) => Some(self.issuer_ref(barrier, name).await?),
            None => None,
        };
        let (key, expect, created) = match found {
            Some(Found { key, expect, record }) => (key, expect, record.created),
            None if self.count(barrier, "role").await? >= PKI_ROLES_MAX => {
                return Err(PkiError::Limit(format!("there are {PKI_ROLES_MAX} roles already")));
            }
            None => (self.role_key(name)?, Expect::Absent, now),
        };
        let record = RoleRecord::new(role, issuer, created);
        let outcome = self.role_state(barrier, name, &record).await?;
        let mut batch = Batch::new();
        batch.put(key, expect, encoding::encode(&record)?);
        Ok(Planned { batch, outcome })
    }

    async fn role_state(&self, barrier: &Barrier, name: &Name, record: &RoleRecord) -> Result<RoleState, PkiError> {
        let issuer_there = match &record.issuer {
            Some(issuer) => self.issuer_meant(barrier, issuer).await?.is_some(),
            None => true,
        };
        Ok(RoleState { name: name.clone(), role: record.role()?, created: record.created, issuer_there, etag: record.etag()? })
    }

    /// A role.
    pub async fn role(&self, barrier: &Barrier, name: &Name) -> Result<RoleState, PkiError> {
        let found = self.role_record(barrier, name).await?.ok_or(PkiError::NotFound("role"))?;
        self.role_state(barrier, name, &found.record).await
    }

    /// Roles behind a name, `limit` at most.
    pub async fn roles(&self, barrier: &Barrier, after: &str, limit: usize) -> Result<NamedPage<RoleState>, PkiError> {
        let (names, more) = self.names(barrier, "role", after, limit).await?;
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            if let Some(found) = self.role_record(barrier, &name).await? {
                entries.push(self.role_state(barrier, &name, &found.record).await?);
            }
        }
        Ok(NamedPage { entries, more })
    }

    /// Plans that a role goes. `etag` is the state that is meant; empty for any.
    pub async fn delete_role(&self, barrier: &Barrier, name: &Name, etag: &str) -> Result<Planned<()>, PkiError> {
        let found = self.role_record(barrier, name).await?.ok_or(PkiError::NotFound("role"))?;
        if !etag.is_empty() && found.record.etag()? != etag {
            return Err(PkiError::Etag);
        }
        let mut batch = Batch::new();
        batch.delete(found.key, found.expect);
        Ok(Planned { batch, outcome: () })
    }
}
