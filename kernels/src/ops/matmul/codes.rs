//! Codes that lie in groups of 16 rows by 32 columns, as types. (Types, not closures: those are compiled without the
//! instruction set.)

use crate::arch::products::Products;
use crate::format::codes::{phase, planes};

/// # Safety
/// Every method: `V`'s instruction set is present; `codes` and `x` are as [`Products`] says.
pub(super) trait Code: Copy {
    /// Bytes of a group.
    const BYTES: usize;
    unsafe fn dot<V: Products>(self, codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> V;
    unsafe fn expand<V: Products>(self, codes: *const u8, to: *mut u8);
}

macro_rules! code {
    ($name:ident, $bytes:expr, $dot:ident, $expand:ident) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl Code for $name {
            const BYTES: usize = $bytes;

            #[inline(always)]
            unsafe fn dot<V: Products>(self, codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> V {
                // SAFETY: as the trait's contract.
                unsafe { V::$dot(codes, groups, x, x_sum) }
            }

            #[inline(always)]
            unsafe fn expand<V: Products>(self, codes: *const u8, to: *mut u8) {
                // SAFETY: as the trait's contract.
                unsafe { V::$expand(codes, to) }
            }
        }
    };
}

code!(Bits8, 512, dot8, expand8);
code!(Bits6, planes::INT6_BYTES, dot6, expand6);
code!(Axis, phase::AXIS_BYTES, dot_axis, expand_axis);
code!(Phases, phase::PHASE_BYTES, dot_phases, expand_phases);

macro_rules! table_code {
    ($name:ident, $entries:literal, $bytes:expr, $dot:ident, $expand:ident) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name<'t>(pub &'t [i8; $entries]);

        impl Code for $name<'_> {
            const BYTES: usize = $bytes;

            #[inline(always)]
            unsafe fn dot<V: Products>(self, codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> V {
                // SAFETY: as the trait's contract.
                unsafe { V::$dot(codes, self.0, groups, x, x_sum) }
            }

            #[inline(always)]
            unsafe fn expand<V: Products>(self, codes: *const u8, to: *mut u8) {
                // SAFETY: as the trait's contract.
                unsafe { V::$expand(codes, self.0, to) }
            }
        }
    };
}

table_code!(Bits2, 4, planes::CODEBOOK2_BYTES, dot2, expand2);
table_code!(Bits4, 16, planes::CODEBOOK4_BYTES, dot4, expand4);
table_code!(Bits5, 32, planes::CODEBOOK5_BYTES, dot5, expand5);
