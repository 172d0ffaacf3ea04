//! Against a real API server: the one of the kubeconfig that `COFFER_TEST_KUBECONFIG` names, as its administrator.

#[cfg(test)]
mod cluster {
    mod ask;
    mod fixture;
    mod follow;
    mod tokens;
}
