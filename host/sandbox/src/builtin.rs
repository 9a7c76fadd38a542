//! The module that comes with the host.

/// The built-in `rules` module, a component: it plans and filters by the tenant's table-mapping JSON.
pub fn builtin_rules() -> &'static [u8] {
    include_bytes!(env!("TIDEGATE_RULES_WASM_PATH"))
}
