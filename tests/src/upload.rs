//! Components that a host refuses, or that are large in one respect: for tests of uploads.

use wasm_encoder::{
    CodeSection, Component, ComponentExportKind, ComponentExportSection, ComponentImportSection, ComponentInstanceSection,
    ComponentSection, ComponentTypeRef, ComponentTypeSection, Function, FunctionSection, InstanceSection, InstanceType, Module, ModuleArg,
    ModuleSection, RefType, TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{Parser, Payload};

/// A component that imports instances of these names.
pub fn importing(names: &[&str]) -> Vec<u8> {
    let (mut component, mut types, mut imports) = (Component::new(), ComponentTypeSection::new(), ComponentImportSection::new());
    types.instance(&InstanceType::new());
    for name in names {
        imports.import(*name, ComponentTypeRef::Instance(0));
    }
    component.section(&types);
    component.section(&imports);
    component.finish()
}

/// A component that exports what it should by name alone, and has so many instances of this core module.
pub fn transformer_of(module: &Module, instances: usize) -> Vec<u8> {
    let (mut empty, mut exports) = (ComponentInstanceSection::new(), ComponentExportSection::new());
    empty.export_items(std::iter::empty::<(&str, ComponentExportKind, u32)>());
    exports.export("tidegate:transform/transformer@1.0.0", ComponentExportKind::Instance, 0, None);
    let mut component = Component::new();
    component.section(&ModuleSection(module)).section(&instances_of(0, instances)).section(&empty).section(&exports);
    component.finish()
}

fn instances_of(module: u32, count: usize) -> InstanceSection {
    let mut instances = InstanceSection::new();
    for _ in 0..count {
        instances.instantiate(module, std::iter::empty::<(&str, ModuleArg)>());
    }
    instances
}

/// A core module with so many tables that begin with so many elements each.
pub fn with_tables(count: u32, elements: u64) -> Module {
    let (mut module, mut tables) = (Module::new(), TableSection::new());
    for _ in 0..count {
        tables.table(TableType { element_type: RefType::FUNCREF, table64: false, minimum: elements, maximum: None, shared: false });
    }
    module.section(&tables);
    module
}

/// The component with so many more core instances, each of which has a table that begins with so many elements.
pub fn with_tables_beside(mut component: Vec<u8>, count: usize, elements: u64) -> Vec<u8> {
    let is_module = |payload: &wasmparser::Result<Payload<'_>>| matches!(payload, Ok(Payload::ModuleSection { .. }));
    let number = Parser::new(0).parse_all(&component).filter(is_module).count() as u32;
    ModuleSection(&with_tables(1, elements)).append_to_component(&mut component);
    instances_of(number, count).append_to_component(&mut component);
    component
}

/// A component with so many functions that are long chains of operations that depend on each other, on which the code generator spends
/// seconds.
pub fn slow_to_compile(functions: usize) -> Vec<u8> {
    let (mut module, mut types) = (Module::new(), TypeSection::new());
    types.ty().function([ValType::I64], [ValType::I64]);
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    for _ in 0..functions {
        declared.function(0);
        let mut function = Function::new([(200, ValType::I64)]);
        for step in 0..40_000_u32 {
            let mut sink = function.instructions();
            sink.local_get(step % 200).local_get((step * 7 + 3) % 200).i64_rem_u().local_get(0).i64_xor().local_set((step * 13 + 1) % 200);
        }
        function.instructions().local_get(0).end();
        code.function(&function);
    }
    module.section(&types).section(&declared).section(&code);
    transformer_of(&module, 0)
}
