//! Every limit of the vault's rules, by name. docs/limits.md lists them for users.

use std::time::Duration;

/// Segments in a path, the mount included.
pub const PATH_SEGMENTS_MAX: usize = 32;
/// Bytes in a segment of a path.
pub const SEGMENT_BYTES_MAX: usize = 255;
/// Bytes in a path, slashes included.
pub const PATH_BYTES_MAX: usize = 1_024;

/// Fields in a secret.
pub const FIELDS_MAX: usize = 1_024;
/// Bytes in a field's name.
pub const FIELD_NAME_BYTES_MAX: usize = 255;
/// Bytes in a secret: names and values of all fields.
pub const SECRET_BYTES_MAX: usize = 1 << 20;
/// Versions kept of a secret, unless said otherwise.
pub const VERSIONS_KEPT_DEFAULT: u32 = 10;
/// Versions kept of a secret, at most.
pub const VERSIONS_KEPT_MAX: u32 = 100;
/// Entries in a secret's custom metadata.
pub const CUSTOM_METADATA_ENTRIES_MAX: usize = 64;
/// Bytes in a key of custom metadata.
pub const CUSTOM_METADATA_KEY_BYTES_MAX: usize = 128;
/// Bytes in a value of custom metadata.
pub const CUSTOM_METADATA_VALUE_BYTES_MAX: usize = 512;
/// Seconds that a version may live: a hundred years.
pub const TTL_SECS_MAX: u64 = 3_155_760_000;

/// Issuers in a mount of the pki engine.
pub const PKI_ISSUERS_MAX: usize = 32;
/// Roles in a mount of the pki engine.
pub const PKI_ROLES_MAX: usize = 4_096;
/// Patterns of one kind (names, addresses, URIs) in a role.
pub const PKI_PATTERNS_MAX: usize = 64;
/// Names in a certificate.
pub const PKI_NAMES_MAX: usize = 64;
/// Bytes in a name that a certificate is for, or in a pattern.
pub const PKI_NAME_BYTES_MAX: usize = 253;
/// Bytes in a URI that a certificate is for, or in a pattern of such.
pub const PKI_URI_BYTES_MAX: usize = 512;
/// Characters in a part of a subject: a common name, an organisation.
pub const PKI_SUBJECT_CHARS_MAX: usize = 64;
/// Bytes in a signing request, as PEM.
pub const PKI_REQUEST_BYTES_MAX: usize = 16 << 10;
/// Certificates in a chain that is handed in, or kept above a CA.
pub const PKI_CHAIN_MAX: usize = 8;
/// Bytes in such a chain, as PEM.
pub const PKI_CHAIN_BYTES_MAX: usize = 64 << 10;
/// Certificates of a CA by other CAs, beside its own.
pub const PKI_CROSSED_MAX: usize = 4;
/// Bytes in the address under which a mount's revocation lists are found.
pub const PKI_ADDRESS_BYTES_MAX: usize = 200;
/// How long a revocation list counts. It is signed anew when half of that has passed, and at once when it grows.
pub const PKI_CRL_LIFETIME: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// Certificates in a revocation list from which on those issued next are spread over more lists.
pub const PKI_CRL_ENTRIES: usize = 4_096;
/// How long after the end of a certificate what is kept about it is kept.
pub const PKI_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a certificate lasts, unless role or request say otherwise.
pub const PKI_TTL_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a certificate of a role may last, at most.
pub const PKI_TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// How long an issuer's own certificate may last, at most.
pub const PKI_ISSUER_TTL_MAX: Duration = Duration::from_secs(30 * 366 * 24 * 60 * 60);
/// How long before the moment of its making a certificate begins, for clocks that are behind.
pub const PKI_BACKDATE: Duration = Duration::from_secs(30);

/// Entries on a page, unless said otherwise.
pub const PAGE_SIZE_DEFAULT: u32 = 100;
/// Entries on a page, at most.
pub const PAGE_SIZE_MAX: u32 = 1_000;

/// Mounts in a tenant, with those that are being erased.
pub const MOUNTS_MAX: usize = 256;
/// Bytes in a mount's description.
pub const MOUNT_DESCRIPTION_BYTES_MAX: usize = 256;
/// Connections, and roles, of a mount of the engine `database`.
pub const DATABASE_NAMES_MAX: usize = 1_000;
/// Bytes in the name or address of a database's host.
pub const DATABASE_HOST_BYTES_MAX: usize = 253;
/// Bytes in the name of a database, or of the vault's user there.
pub const DATABASE_NAME_BYTES_MAX: usize = 63;
/// Bytes in the password of the vault's user in a database.
pub const DATABASE_PASSWORD_BYTES_MAX: usize = 1_024;
/// How long it takes from one rotation of a static role to the next, at least.
pub const STATIC_ROTATION_PERIOD_MIN: Duration = Duration::from_secs(60);
/// The same, where nothing else is said.
pub const STATIC_ROTATION_PERIOD_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// The same, at most: a year.
pub const STATIC_ROTATION_PERIOD_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long the user before stays good at most after a rotation, where nothing else is said. It is never more than half of the period.
pub const STATIC_GRACE_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// Those of whom it is known that they hold a static role's credential. Past that, the one before ends when its grace does.
pub const STATIC_HOLDERS_MAX: usize = 10_000;
/// Bytes in the CA certificates that a database is believed by.
pub const CA_BYTES_MAX: usize = 64 << 10;
/// Roles of a mount of the engine `kubernetes`.
pub const KUBERNETES_ROLES_MAX: usize = 1_000;
/// Rules of such a role.
pub const KUBERNETES_RULES_MAX: usize = 32;
/// Entries in each list of such a rule.
pub const KUBERNETES_ENTRIES_MAX: usize = 32;
/// Audiences of such a role.
pub const KUBERNETES_AUDIENCES_MAX: usize = 8;
/// Parameters of a credential that is asked for.
pub const CREDENTIAL_PARAMETERS_MAX: usize = 16;
/// Bytes in the name of such a parameter.
pub const CREDENTIAL_PARAMETER_NAME_BYTES_MAX: usize = 64;
/// Bytes in the value of such a parameter.
pub const CREDENTIAL_PARAMETER_BYTES_MAX: usize = 16 << 10;
/// How long a credential lasts where neither the request nor its role says so.
pub const LEASE_LIFETIME_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// How long a credential lasts at most, where its role does not say so.
pub const LEASE_LIFETIME_MAX_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a role may let a credential last, at most.
pub const LEASE_LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Leases in a tenant.
pub const LEASES_MAX: u64 = 1_000_000;
/// Leases of a mount.
pub const LEASES_PER_MOUNT_MAX: u64 = 500_000;
/// Leases of a principal, in all its pods.
pub const LEASES_PER_PRINCIPAL_MAX: u64 = 10_000;

/// Keys of a mount of the engine `transit`.
pub const TRANSIT_KEYS_MAX: usize = 1_000;
/// Versions of a key of `transit`.
pub const TRANSIT_VERSIONS_MAX: usize = 256;
/// Items in a request to a key of `transit`.
pub const TRANSIT_ITEMS_MAX: usize = 1_000;
/// Bytes in a request to a key of `transit`: plaintexts or messages, and associated data, of all items.
pub const TRANSIT_BYTES_MAX: usize = 1 << 20;
/// Random bytes in an answer.
pub const TRANSIT_RANDOM_BYTES_MAX: usize = 64 << 10;
/// Bytes in wrapped key material.
pub const TRANSIT_WRAPPED_BYTES_MAX: usize = 8 << 10;

/// Characters in the name of an operator, a policy or a cluster.
pub const NAME_CHARS_MAX: usize = 64;
/// Bytes in a Kubernetes name (namespace, service account) or an audience.
pub const KUBERNETES_NAME_BYTES_MAX: usize = 253;
/// Certificates pinned for an operator.
pub const CERTIFICATE_PINS_MAX: usize = 8;
/// Bytes in a new password, at least.
pub const PASSWORD_BYTES_MIN: usize = 12;
/// Bytes in a password, at most.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Bytes in an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;
/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes in a policy's text.
pub const POLICY_BYTES_MAX: usize = 64 << 10;
/// Brackets open at once in a policy's text.
pub const POLICY_DEPTH_MAX: usize = 32;
/// Words and signs in one policy of a text; strings, commas and closing brackets do not count.
pub const POLICY_TOKENS_MAX: usize = 512;
/// Findings in the check of a text.
pub const FINDINGS_MAX: usize = 64;
/// Characters in a finding.
pub const FINDING_CHARS_MAX: usize = 500;
/// Policies (named texts) in a tenant.
pub const POLICIES_MAX: usize = 256;
/// Grants in a tenant.
pub const GRANTS_MAX: usize = 100_000;
/// Decisions remembered for one state of the policies.
pub const DECISIONS_CACHED_MAX: usize = 16_384;
/// Grants named as near misses in an explanation.
pub const NEAR_MISSES_MAX: usize = 5;

/// Shares of an unseal key.
pub const SHARES_MAX: u8 = 16;
/// Terms of a keyring: keys that records are, or were, written under.
pub const KEY_TERMS_MAX: usize = 1_024;
/// Recipients that a snapshot is encrypted to.
pub const SNAPSHOT_RECIPIENTS_MAX: usize = 16;
/// How long an attempt to put shares together may take: to unseal, to recover, for new shares.
pub const QUORUM_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long a bootstrap credential lasts.
pub const BOOTSTRAP_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long an operator's session lasts.
pub const OPERATOR_SESSION_LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);
/// How long a workload's session lasts, at most.
pub const WORKLOAD_SESSION_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long a workload's session lasts, at most, where nothing tells whether its pod lives.
pub const UNCHECKED_SESSION_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Bytes in a service-account token.
pub const SERVICE_ACCOUNT_TOKEN_BYTES_MAX: usize = 8_192;
/// Bytes in a set of a cluster's keys.
pub const JWKS_BYTES_MAX: usize = 64 << 10;
/// How far a cluster's clock may be from the vault's.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// Paths in one watch.
pub const WATCH_PATHS_MAX: usize = 128;
/// How often a watch says that it lives.
pub const WATCH_KEEPALIVE: Duration = Duration::from_secs(15);
/// Watches at once.
pub const WATCHERS_MAX: usize = 16_384;
/// Watches at once of one principal, in all its sessions.
pub const WATCHERS_PER_PRINCIPAL_MAX: usize = 4_096;
/// Watches at once of one session.
pub const WATCHERS_PER_SESSION_MAX: usize = 16;
/// Events of a watch that wait for a slow reader; what happens then is told as the newest state only.
pub const WATCH_EVENTS_WAITING_MAX: usize = 16;
/// Entries of the audit log to begin before its end, at most.
pub const AUDIT_LAST_MAX: u64 = 10_000;

/// Connections over TLS at once, unless the configuration says otherwise. More are closed before their handshake.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections at once from one address, unless the configuration says otherwise.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 4_096;
/// New connections a second from one address, unless the configuration says otherwise.
pub const NEW_CONNECTIONS_PER_ADDRESS_MAX: u32 = 128;
/// How many seconds' worth of these may come at once.
pub const NEW_CONNECTIONS_BURST_SECS: u32 = 8;
/// TLS handshakes under way. One more ends the oldest of the address that has the most.
pub const HANDSHAKES_MAX: usize = 1_024;
/// How long a TLS handshake may take, and then the first words of HTTP/2.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// The part of the processors' time that handshakes may take: one in so many.
pub const HANDSHAKES_PROCESSOR_PART: u32 = 4;
/// Requests under way on a connection.
pub const STREAMS_MAX: u32 = 128;
/// Bytes of a request's headers.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Bytes of an HTTP/2 frame.
pub const FRAME_BYTES_MAX: u32 = 16 << 10;
/// Bytes of a request that may be on their way at once.
pub const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes of all requests of a connection that may be on their way at once.
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Requests of a connection that their caller has taken back, and that still wait to be dropped.
pub const RESET_STREAMS_MAX: usize = 20;
/// Requests of a connection that the server may end for their faults before it ends the connection.
pub const FAULTY_STREAMS_MAX: usize = 128;
/// How long a connection may be silent before it is asked whether it lives, unless the configuration says otherwise.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer to that may take.
pub const KEEPALIVE_TIME_MAX: Duration = Duration::from_secs(10);
/// Requests under way in all, watches included.
pub const REQUESTS_MAX: usize = 65_536;
/// Requests under way from one address.
pub const REQUESTS_PER_ADDRESS_MAX: usize = 16_384;
/// Bytes in a request: the largest secret, and room for names.
pub const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Bytes in an answer: the largest page, or the largest secret.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes of requests and answers in the server's memory.
pub const BYTES_HELD_MAX: usize = 256 << 20;
/// Bytes of requests and answers in the server's memory for one address.
pub const BYTES_HELD_PER_ADDRESS_MAX: usize = 64 << 20;
/// How long a request may take to arrive, once it has begun.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How long answers may wait for a caller that takes nothing of them, before its connection is closed.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Characters of a request id that the caller sends.
pub const REQUEST_ID_CHARS_MAX: usize = 64;
/// Requests without a session, or with none that holds, that an address may send in a minute before it is turned away.
pub const FAILURES_PER_ADDRESS_MAX: u32 = 60;
/// Addresses whose connections and failures are remembered when they have none open.
pub const ADDRESSES_MAX: usize = 10_000;

/// How old the verdict on an image may be that a grant asks for, at most: ten years.
pub const REQUIRED_AGE_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// Signers of verdicts on images.
pub const SIGNERS_MAX: usize = 100;
/// Verdicts on images.
pub const VERDICTS_MAX: usize = 10_000;
/// Findings in a verdict.
pub const IMAGE_FINDINGS_MAX: usize = 64;
/// Images of the index that an image was chosen from.
pub const INDEX_IMAGES_MAX: usize = 32;
/// Bytes of what an image is called.
pub const REFERENCE_BYTES_MAX: usize = 512;
/// Bytes of a word about a scan: platform, scanner, day of the advisories, id of a check.
pub const SCAN_WORD_BYTES_MAX: usize = 64;
/// Bytes of what a finding is seen from, of an exception, and of the reason for taking a verdict back.
pub const FINDING_BYTES_MAX: usize = 512;
/// Packages that an attestation tells of an image.
pub const SCAN_PACKAGES_MAX: usize = 8_192;
/// Bytes of a package's name, and of its version, in an attestation.
pub const SCAN_PACKAGE_BYTES_MAX: usize = 256;
/// Bytes of the canonical text of all packages of an attestation: with the verdict they are one transaction.
pub const SCAN_PACKAGES_BYTES_MAX: usize = 768 << 10;
/// Exceptions of a scan that an attestation tells.
pub const SCAN_EXCEPTIONS_MAX: usize = 64;
/// Secrets on a page of marks of what is stored.
pub const STORED_SECRETS_PAGE_MAX: usize = 512;
/// Marks of one secret that are told.
pub const STORED_RUNS_MAX: usize = 256;
/// Ecosystems that advisories are imported of.
pub const ADVISORY_SCOPES_MAX: usize = 64;
/// Advisories about packages of images, in all imports together: one for each version of a package.
pub const ADVISORY_MATCHES_MAX: usize = 8_192;
/// Advisories about images, in all imports together: one for each image.
pub const ADVISED_PAIRS_MAX: usize = 65_536;
/// Names that an advisory has beside the one that most people know.
pub const ADVISORY_ALIASES_MAX: usize = 16;
/// Bytes of all that is kept of imports: it is one record.
pub const ADVISORY_IMPORTS_BYTES_MAX: usize = 1 << 20;
/// How far the clock of a machine that scans may be ahead of the vault's.
pub const SCAN_AHEAD_MAX: Duration = Duration::from_secs(60);
/// How long a verdict counts, unless said otherwise.
pub const ATTESTATION_LIFETIME_DEFAULT: Duration = Duration::from_secs(30 * 86_400);
/// How long a verdict counts, at most.
pub const ATTESTATION_LIFETIME_MAX: Duration = Duration::from_secs(365 * 86_400);

/// How long what a node says of itself counts.
pub const POSTURE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How much longer it counts where implausibly many nodes fell silent at once, and nobody has said that they are gone.
pub const POSTURE_HELD_MAX: Duration = Duration::from_secs(60 * 60);
/// Nodes of a cluster that report.
pub const NODES_PER_CLUSTER_MAX: usize = 5_000;
/// Reports that a node may make in a minute.
pub const POSTURE_REPORTS_PER_MINUTE_MAX: u32 = 60;
/// Findings of a node that are told at once.
pub const POSTURE_FINDINGS_MAX: usize = 1_000;
