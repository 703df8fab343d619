//! Functions in C++ without extern "C": the compiler has mangled their names.

use super::*;
use crate::support::cpp_plugin_with;

#[test]
fn a_function_in_cpp_without_extern_c_is_named_with_the_remedy() {
    let library = cpp_plugin_with("convention.c", &["-DNAME=\"cpp\""]);
    let refused = |routes: &str| refusal(&["check", path(&library), "--route", routes]);
    let text = refused("/=onconnect,onmessage,ondisconnect");
    assert!(
        text.contains(
            "no onconnect handler `onconnect`; `onconnect` is a C++ function, which the library exports as \
             `_Z9onconnectP10connection`: declare it extern \"C\", or export it with CALLSIGN_ONCONNECT(onconnect)"
        ),
        "{text}"
    );
    let text = refused("/=,onmesage,");
    assert!(
        text.contains("`onmessage` is a C++ function") && text.contains("CALLSIGN_ONMESSAGE(onmessage)"),
        "{text}"
    );
    // Mangled names are not offered.
    let text = refused("/=something_else");
    assert!(text.contains("no onrequest handler `something_else`; none of that kind is exported"), "{text}");
}

#[test]
fn without_a_route_functions_in_cpp_are_listed_as_such() {
    let library = cpp_plugin_with("convention.c", &["-DNAME=\"cpp\""]);
    let text = refusal(&["serve", path(&library)]);
    assert!(text.contains("_Z9onconnectP10connection (a C++ function without extern \"C\")"), "{text}");
}
