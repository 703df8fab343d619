//! Translates the declarations of `abi.rs` to C. Supports only the forms that `abi.rs` uses. Any other form
//! panics with its name, so that no declaration is skipped silently.

use std::collections::BTreeMap;

use syn::punctuated::Punctuated;
use syn::{
    Expr, ExprLit, Fields, FieldsNamed, GenericArgument, Item, ItemConst, ItemMod, Lit, NamedArg,
    PathArguments, PointerMutability, ReturnType, Token, Type, TypeFnPtr,
};

use super::text::{WIDTH, comment, fill, paragraphs};

/// The complete header: preamble, the declarations in the order of `abi.rs` (plain constants first), helpers.
pub fn header(abi: &str, helpers: &str, command: &str) -> String {
    let file = syn::parse_file(abi).unwrap_or_else(|error| panic!("abi.rs: {error}"));
    let names = Names::of(&file.items);
    let manual = paragraphs(&file.attrs, &|path| names.link(path));
    let mut out = format!(
        "/* callsign.h: plugins for Callsign in C99 or C++. No library is linked:\n \
         * `cc -shared -fPIC -I DIR chat.c -o chat.so`, where DIR is the folder of this file.\n \
         *\n * Generated from plugin-api/src/abi.rs and plugin-api/tests/header/helpers.h; edit those, then run\n \
         * `{command}`. */\n\
         #ifndef CALLSIGN_H\n#define CALLSIGN_H\n\n#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
    );
    out += &comment(&manual, 0);
    out += "\n";
    for (_, c_type) in names.types.iter().filter(|(_, c_type)| c_type.starts_with("struct ")) {
        out += &format!("{c_type};\n");
    }
    let (constants, others): (Vec<_>, Vec<_>) =
        file.items.iter().partition(|item| matches!(item, Item::Const(_)));
    for item in constants.into_iter().chain(others) {
        out += &declaration(item, &names);
    }
    out += "\n";
    out += helpers.trim_start();
    out += "\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n";
    out
}

/// Maps Rust names to C names.
struct Names {
    /// `Host` to `struct callsign_host`, `OnLater` to `callsign_onlater_fn`.
    types: BTreeMap<String, String>,
    /// `ABI_MAJOR` to `CALLSIGN_ABI_MAJOR`, `op::TEXT` to `CALLSIGN_OP_TEXT`, `op` to `callsign_op`.
    constants: BTreeMap<String, String>,
    /// `Host::send` to `callsign_host.send`.
    fields: BTreeMap<String, String>,
}

impl Names {
    fn of(items: &[Item]) -> Self {
        let mut names = Self { types: BTreeMap::new(), constants: BTreeMap::new(), fields: BTreeMap::new() };
        for item in items {
            match item {
                Item::Const(item) => names.constant(None, item),
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    names.constants.insert(name.clone(), format!("callsign_{name}"));
                    constants(module).for_each(|item| names.constant(Some(&name), item));
                }
                Item::Type(item) => {
                    let name = item.ident.to_string();
                    let c_name = format!("callsign_{}_fn", snake(&name).replace("on_", "on"));
                    names.types.insert(name, c_name);
                }
                Item::Struct(item) => match &item.fields {
                    Fields::Named(fields) => names.record("struct", &item.ident.to_string(), fields),
                    _ => panic!("struct {} has unnamed fields", item.ident),
                },
                Item::Union(item) => names.record("union", &item.ident.to_string(), &item.fields),
                _ => {}
            }
        }
        names
    }

    fn constant(&mut self, module: Option<&str>, item: &ItemConst) {
        let name = item.ident.to_string();
        let (path, c_name) = match module {
            None => (name.clone(), format!("CALLSIGN_{name}")),
            Some(module) if module.to_uppercase() == name => {
                (format!("{module}::{name}"), format!("CALLSIGN_{name}"))
            }
            Some(module) => {
                (format!("{module}::{name}"), format!("CALLSIGN_{}_{name}", module.to_uppercase()))
            }
        };
        self.constants.insert(path, c_name);
    }

    fn record(&mut self, keyword: &str, name: &str, fields: &FieldsNamed) {
        // The C name has no prefix: existing handlers in C use `struct connection`.
        let tag =
            if name == "Connection" { "connection".to_owned() } else { format!("callsign_{}", snake(name)) };
        for field in fields.named.iter().filter_map(|field| field.ident.as_ref()) {
            self.fields.insert(format!("{name}::{field}"), format!("{tag}.{field}"));
        }
        self.types.insert(name.to_owned(), format!("{keyword} {tag}"));
    }

    fn type_(&self, name: &str) -> String {
        let plain = match name {
            "u8" => "uint8_t",
            "u16" => "uint16_t",
            "u32" => "uint32_t",
            "u64" => "uint64_t",
            "i32" => "int32_t",
            "usize" => "size_t",
            "c_char" => "char",
            "c_void" => "void",
            _ => "",
        };
        match (plain, self.types.get(name)) {
            ("", Some(c_type)) => c_type.clone(),
            ("", None) => panic!("`{name}` has no C type"),
            _ => plain.to_owned(),
        }
    }

    fn link(&self, path: &str) -> String {
        let path = path.trim_start_matches("super::");
        let found = self.constants.get(path).or(self.types.get(path)).or(self.fields.get(path));
        found.unwrap_or_else(|| panic!("abi.rs links to [`{path}`], which does not exist")).clone()
    }
}

fn declaration(item: &Item, names: &Names) -> String {
    let link = |path: &str| names.link(path);
    match item {
        Item::Use(_) => String::new(),
        Item::Const(item) => {
            let c_name = &names.constants[&item.ident.to_string()];
            let note = comment(&paragraphs(&item.attrs, &link), 0);
            format!("\n{note}#define {c_name} {}\n", value(&item.expr))
        }
        Item::Mod(module) => {
            let module_name = module.ident.to_string();
            let mut out = format!("\n{}", comment(&paragraphs(&module.attrs, &link), 0));
            out += &format!("enum callsign_{module_name} {{\n");
            let lines: Vec<_> = constants(module)
                .map(|item| {
                    let note = comment(&paragraphs(&item.attrs, &link), 1);
                    let c_name = &names.constants[&format!("{module_name}::{}", item.ident)];
                    format!("{note}\t{c_name} = {}", value(&item.expr))
                })
                .collect();
            out + &lines.join(",\n") + "\n};\n"
        }
        Item::Type(item) => {
            let Type::FnPtr(function) = &*item.ty else { panic!("`{}` is not a function type", item.ident) };
            let c_name = &names.types[&item.ident.to_string()];
            let note = comment(&paragraphs(&item.attrs, &link), 0);
            format!("\n{note}typedef {};\n", function_pointer(function, c_name, names, 0))
        }
        Item::Struct(item) => match &item.fields {
            Fields::Named(fields) => record(&item.attrs, &item.ident.to_string(), fields, names),
            _ => panic!("struct {} has unnamed fields", item.ident),
        },
        Item::Union(item) => record(&item.attrs, &item.ident.to_string(), &item.fields, names),
        _ => panic!("abi.rs has an unsupported kind of item"),
    }
}

fn record(attributes: &[syn::Attribute], name: &str, fields: &FieldsNamed, names: &Names) -> String {
    let link = |path: &str| names.link(path);
    let mut out = format!("\n{}{} {{\n", comment(&paragraphs(attributes, &link), 0), names.types[name]);
    for field in &fields.named {
        let field_name = field.ident.as_ref().unwrap_or_else(|| panic!("{name} has an unnamed field"));
        out += &comment(&paragraphs(&field.attrs, &link), 1);
        out += &format!("\t{};\n", variable(&field.ty, &field_name.to_string(), names, 1));
    }
    out + "};\n"
}

fn constants(module: &ItemMod) -> impl Iterator<Item = &ItemConst> {
    let (_, items) =
        module.content.as_ref().unwrap_or_else(|| panic!("mod {} has no inline content", module.ident));
    items.iter().map(|item| match item {
        Item::Const(item) => item,
        _ => panic!("mod {} contains items other than constants", module.ident),
    })
}

/// A declaration of `name` with this type, without the semicolon.
fn variable(type_: &Type, name: &str, names: &Names, depth: usize) -> String {
    match type_ {
        Type::FnPtr(function) => function_pointer(function, name, names, depth),
        Type::Path(path) => {
            let last = path.path.segments.last().unwrap_or_else(|| panic!("`{name}` has an empty type"));
            match (&last.arguments, last.ident == "Option") {
                // A C function pointer can always be NULL.
                (PathArguments::AngleBracketed(inner), true) => match inner.args.first() {
                    Some(GenericArgument::Type(inner)) => variable(inner, name, names, depth),
                    _ => panic!("`{name}`: an Option without a type"),
                },
                _ => spaced(&names.type_(&last.ident.to_string()), name),
            }
        }
        Type::Ptr(pointer) => {
            let target = match &pointer.mutability {
                PointerMutability::Const(_) => constant(&pointer.elem, names),
                PointerMutability::Mut(_) => variable(&pointer.elem, "", names, depth),
            };
            spaced(&format!("{target}{}*", if target.ends_with('*') { "" } else { " " }), name)
        }
        Type::Array(array) => {
            // All arrays hold text, which is `char` in C.
            let Expr::Path(length) = &array.len else {
                panic!("`{name}`: the array length is not a constant")
            };
            let length =
                length.path.get_ident().unwrap_or_else(|| panic!("`{name}`: the array length is a path"));
            format!("char {name}[{}]", names.constants[&length.to_string()])
        }
        _ => panic!("`{name}` has an unsupported type"),
    }
}

/// The `const` form of the type.
fn constant(type_: &Type, names: &Names) -> String {
    let plain = variable(type_, "", names, 0);
    if plain.ends_with('*') {
        format!("{plain}const ").trim_end().to_owned()
    } else {
        format!("const {plain}")
    }
}

fn spaced(type_: &str, name: &str) -> String {
    let space = if name.is_empty() || type_.ends_with('*') { "" } else { " " };
    format!("{type_}{space}{name}")
}

fn function_pointer(function: &TypeFnPtr, name: &str, names: &Names, depth: usize) -> String {
    let result = match &function.output {
        ReturnType::Default => "void".to_owned(),
        ReturnType::Type(_, type_) => variable(type_, "", names, depth),
    };
    let head = format!("{}(", spaced(&result, &format!("(*{name})")));
    let arguments = arguments(&function.inputs, names, depth);
    let whole = format!("{head}{})", arguments.join(", "));
    if whole.len() + 8 * depth < WIDTH - "typedef ".len() {
        return whole;
    }
    let words: Vec<String> = arguments.iter().map(|one| one.replace(' ', "\u{0}")).collect();
    let words = words.join(", ");
    let lines = fill(words.split(' '), WIDTH - 8 * (depth + 1) - 2);
    let tabs = "\t".repeat(depth + 1);
    format!("{head}\n{tabs}{})", lines.join(&format!("\n{tabs}"))).replace('\u{0}', " ")
}

fn arguments(inputs: &Punctuated<NamedArg, Token![,]>, names: &Names, depth: usize) -> Vec<String> {
    if inputs.is_empty() {
        return vec!["void".to_owned()];
    }
    let one = |argument: &NamedArg| {
        let name = argument.name.as_ref().map(|(name, _)| name.to_string()).unwrap_or_default();
        variable(&argument.ty, &name, names, depth)
    };
    inputs.iter().map(one).collect()
}

/// A constant's value in C.
fn value(expression: &Expr) -> String {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_digits().to_owned(),
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => format!("{:?}", text.value()),
        Expr::Unary(unary) => format!("-{}", value(&unary.expr)),
        Expr::Path(path) if path_is(&path.path, "u32::MAX") => "UINT32_MAX".to_owned(),
        Expr::Call(call) => match (&*call.func, call.args.first()) {
            (Expr::Path(function), Some(Expr::Unary(bytes)))
                if path_is(&function.path, "u64::from_le_bytes") =>
            {
                let Expr::Lit(ExprLit { lit: Lit::ByteStr(bytes), .. }) = &*bytes.expr else {
                    panic!("u64::from_le_bytes without a byte string")
                };
                let bytes = bytes.value().try_into().expect("a u64 has 8 bytes");
                format!("UINT64_C({:#x})", u64::from_le_bytes(bytes))
            }
            _ => panic!("a constant calls an unsupported function"),
        },
        _ => panic!("a constant has an unsupported value"),
    }
}

fn path_is(path: &syn::Path, text: &str) -> bool {
    let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    segments.join("::") == text
}

/// `HandlerFunction` to `handler_function`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
