//! The attributes of `callsign-plugin`. Each attribute exports a function as a handler of one kind, as the
//! data symbol `callsign_handler_NAME`. See the documentation of `callsign-plugin`.

use proc_macro::TokenStream;
use proc_macro2::Span;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Error, ItemFn, parse_macro_input};

/// `fn(c: &Connection)`: called when a client was upgraded. May return `Result<(), impl Display>`.
#[proc_macro_attribute]
pub fn onconnect(attribute: TokenStream, item: TokenStream) -> TokenStream {
    export("onconnect", 1, attribute, item)
}

/// `fn(c: &Connection, message: Message<'_>)`: called with each complete message. May return
/// `Result<(), impl Display>`.
#[proc_macro_attribute]
pub fn onmessage(attribute: TokenStream, item: TokenStream) -> TokenStream {
    export("onmessage", 2, attribute, item)
}

/// `fn(c: &Connection)`: called once, as the last callback of the connection, however it ended. May return
/// `Result<(), impl Display>`.
#[proc_macro_attribute]
pub fn ondisconnect(attribute: TokenStream, item: TokenStream) -> TokenStream {
    export("ondisconnect", 1, attribute, item)
}

/// `fn(c: &Connection)`: called when nothing waits in the connection's write queue any more, after it was too full or
/// `queued` said that something waits. May return `Result<(), impl Display>`.
#[proc_macro_attribute]
pub fn ondrain(attribute: TokenStream, item: TokenStream) -> TokenStream {
    export("ondrain", 1, attribute, item)
}

/// `fn(request: &mut Request) -> Response`: responds to a request. May return
/// `Result<Response, impl Display>`.
#[proc_macro_attribute]
pub fn onrequest(attribute: TokenStream, item: TokenStream) -> TokenStream {
    export("onrequest", 1, attribute, item)
}

/// `fn(load: &Load)`: called when the library was loaded, before any handler. May return
/// `Result<(), impl Display>`; an `Err` rejects the load with that reason.
#[proc_macro_attribute]
pub fn onload(attribute: TokenStream, item: TokenStream) -> TokenStream {
    export("onload", 1, attribute, item)
}

/// `fn()`: called when a new generation of the plugin has replaced this one, as its last callback. Not called
/// when the worker exits, or for a generation whose load was rejected. May return `Result<(), impl Display>`;
/// an `Err` is logged.
#[proc_macro_attribute]
pub fn onunload(attribute: TokenStream, item: TokenStream) -> TokenStream {
    export("onunload", 0, attribute, item)
}

fn export(kind: &str, inputs: usize, attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    match expand(kind, inputs, attribute.into(), &function) {
        Ok(tokens) => tokens.into(),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #function).into()
        }
    }
}

fn expand(
    kind: &str,
    inputs: usize,
    attribute: proc_macro2::TokenStream,
    function: &ItemFn,
) -> syn::Result<proc_macro2::TokenStream> {
    let signature = &function.sig;
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, format!("#[{kind}] takes no arguments")));
    }
    if signature.inputs.len() != inputs || signature.asyncness.is_some() || signature.variadic.is_some() {
        let wanted = match kind {
            "onmessage" => "fn(c: &Connection, message: Message<'_>)",
            "onrequest" => "fn(request: &mut Request) -> Response",
            "onload" => "fn(load: &Load)",
            "onunload" => "fn()",
            _ => "fn(c: &Connection)",
        };
        return Err(Error::new_spanned(signature, format!("an #[{kind}] handler must be a `{wanted}`")));
    }

    let name = &signature.ident;
    // The handler name of `r#move` is `move`.
    let symbol = format!("callsign_handler_{}", name.unraw());
    let kind_constant = format_ident!("{}", kind.to_uppercase(), span = Span::call_site());
    let kind = format_ident!("{kind}");
    let call = format_ident!("call_{kind}");
    // Hygienic, so that a handler may be named `c` or `data`.
    let own = Span::mixed_site();
    let (parameters, arguments, result) = match kind.to_string().as_str() {
        "onmessage" => (
            quote_spanned!(own=> c: *mut abi::Connection, op: u8, data: *const ::core::ffi::c_void, length: usize),
            quote_spanned!(own=> c, op, data, length,),
            quote!(()),
        ),
        "onrequest" => {
            (quote_spanned!(own=> request: *mut abi::Request), quote_spanned!(own=> request,), quote!(i32))
        }
        "onload" => (quote_spanned!(own=> load: *const abi::Load), quote_spanned!(own=> load,), quote!(i32)),
        "onunload" => (quote!(), quote!(), quote!(())),
        _ => (quote_spanned!(own=> c: *mut abi::Connection), quote_spanned!(own=> c,), quote!(())),
    };
    // No `allow(unsafe_code)`: the lint ignores code of external macros, and `allow` would be an error in a
    // crate that forbids the lint.
    Ok(quote! {
        #function

        const _: () = {
            use ::callsign_plugin::{__private, abi};

            unsafe extern "C" fn __entry(#parameters) -> #result {
                // SAFETY: the host calls this with the arguments that the ABI guarantees for its kind.
                unsafe { __private::#call(#arguments #name) }
            }

            // SAFETY: symbol names that begin with `callsign_handler_` are reserved for Callsign.
            #[unsafe(export_name = #symbol)]
            static HANDLER: abi::Handler = abi::Handler {
                struct_size: ::core::mem::size_of::<abi::Handler>() as u32,
                kind: abi::kind::#kind_constant,
                function: abi::HandlerFunction { #kind: __entry },
            };
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_identifier_is_exported_without_its_prefix() {
        let function = syn::parse_quote! { fn r#move(c: &Connection, message: Message<'_>) {} };
        let code = expand("onmessage", 2, quote!(), &function).expect("a valid handler").to_string();
        assert!(code.contains("\"callsign_handler_move\""), "{code}");
    }
}
