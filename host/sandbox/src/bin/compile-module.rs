//! The helper process alone: a module on stdin, its compiled form on stdout. `tidegate compile-module` is the same;
//! this small program has nothing else in it, for deployments that confine the helper, and for the tests.

fn main() {
    std::process::exit(tidegate_sandbox::helper_main());
}
