//! Compiles the messages of etcd, without protoc.

use std::error::Error;

const FILE: &str = "proto/etcd.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FILE}");
    let descriptors = protox::compile([FILE], ["proto"])?;
    tonic_prost_build::configure().build_server(false).build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
