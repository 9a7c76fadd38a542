//! The contract, as generated from `guest-transforms/wit`.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({
    path: "../../guest-transforms/wit",
    world: "transform-module",
});
