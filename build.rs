//! Tells cargo that the binary holds the migrations.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
