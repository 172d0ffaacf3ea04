//! Every annotation that there is.

/// An annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation {
    /// Its name behind the prefix; for one about a file, what comes before the file's name.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
}

const fn annotation(name: &'static str, about: &'static str) -> Annotation {
    Annotation { name, about }
}

/// Annotations about a pod.
pub const OF_POD: &[Annotation] = &[
    annotation("inject", "`true` asks for injection"),
    annotation("status", "set by the injector: `injected`"),
    annotation("path", "where the files are in containers"),
    annotation("mode", "the mode of the files, octal"),
    annotation("owner", "whose the files are: `UID` or `UID:GID`"),
    annotation("containers", "the containers that get the files, with commas between them"),
    annotation("init-only", "`true` writes the files once, before the application starts, and leaves no sidecar"),
    annotation("notify-http", "an address of the pod's own that gets a POST after each change"),
    annotation("notify-signal", "the signal that the application gets after each change"),
    annotation("notify-process", "the program that gets the signal"),
    annotation("notify-on-start", "`true` tells the application of the first files as well"),
    annotation("revoke-on-exit", "`true` ends credentials when the sidecar is told to stop, rather than with the pod"),
    annotation("requests-cpu", "processor time that the agent asks for; empty for none"),
    annotation("requests-memory", "memory that the agent asks for; empty for none"),
    annotation("limits-cpu", "processor time that the agent may have at most; empty for no limit"),
    annotation("limits-memory", "memory that the agent may have at most; empty for no limit"),
    annotation("volume-size", "memory that the files may take"),
    annotation("image", "the agent's image"),
    annotation("vault-address", "the vault: `https://HOST:PORT`"),
    annotation("vault-server-name", "the name in the vault's certificate, where it is not the host"),
    annotation("ca-config-map", "the ConfigMap of the pod's namespace with the vault's CA certificates, as `ca.pem`"),
    annotation("tenant", "the tenant"),
    annotation("cluster", "the name under which the cluster is registered"),
    annotation("log-level", "what the agent logs: `error`, `warn`, `info`, `debug` or `trace`"),
    annotation("pin-images", "`true` gives every image of the pod the digest that its tag has now"),
];

/// Annotations about a file: each has the file's name behind it.
pub const OF_FILES: &[Annotation] = &[
    annotation("secret-", "the secret in the file: `MOUNT/PATH`, or `MOUNT/PATH#FIELD`"),
    annotation("credential-", "the credential in the file: `MOUNT/creds/ROLE`, `MOUNT/static-creds/NAME` or `MOUNT/issue/ROLE`"),
    annotation("ttl-", "how long the credential should last"),
    annotation("parameters-", "what the credential is to be: `KEY=VALUE`, with `;` between them"),
    annotation("version-", "the version of the secret; the newest, always, where nothing is said"),
    annotation("field-", "the field that the file has, byte by byte"),
    annotation("format-", "what the file is: `raw`, `json` or `dotenv`"),
    annotation("template-config-map-", "the ConfigMap, and the key in it, with the template: `NAME/KEY`"),
    annotation("template-", "the template that the file is made with"),
    annotation("file-", "the file's name, where it is not the annotation's"),
    annotation("mode-", "the file's mode, octal"),
];

/// The annotation that a name is of, and the file that it is about.
pub(super) fn of_file(name: &str) -> Option<(&'static str, &str)> {
    let parts = |annotation: &Annotation| Some((annotation.name, name.strip_prefix(annotation.name)?));
    OF_FILES.iter().find_map(parts).filter(|(_, file)| !file.is_empty())
}
