//! Codes that lie in groups of 16 rows by 32 columns, as types. (Types, not closures: those are compiled without the
//! instruction set.)

use crate::arch::products::Products;
use crate::format::codes::{Table, phase, planes};

/// # Safety
/// Every method: `V`'s instruction set is present; `codes` and `x` are as [`Products`] says.
pub(super) trait Code: Copy {
    /// Bytes of a group.
    const BYTES: usize;
    unsafe fn dot<V: Products>(self, codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> V;
}

macro_rules! code {
    ($name:ident, $bytes:expr, $dot:ident) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl Code for $name {
            const BYTES: usize = $bytes;

            #[inline(always)]
            unsafe fn dot<V: Products>(self, codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> V {
                // SAFETY: as the trait's contract.
                unsafe { V::$dot(codes, groups, x, x_sum) }
            }
        }
    };
}

code!(Bits8, 512, dot8);
code!(Bits6, planes::INT6_BYTES, dot6);
code!(Axis, phase::AXIS_BYTES, dot_axis);
code!(Phases, phase::PHASE_BYTES, dot_phases);

macro_rules! table_code {
    ($name:ident, $table:ty, $bytes:expr, $dot:ident) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name<'t>(pub &'t $table);

        impl Code for $name<'_> {
            const BYTES: usize = $bytes;

            #[inline(always)]
            unsafe fn dot<V: Products>(self, codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> V {
                // SAFETY: as the trait's contract.
                unsafe { V::$dot(codes, self.0, groups, x, x_sum) }
            }
        }
    };
}

table_code!(Bits2, [i8; 4], planes::CODEBOOK2_BYTES, dot2);
table_code!(Bits4, Table<16>, planes::CODEBOOK4_BYTES, dot4);
table_code!(Bits5, Table<32>, planes::CODEBOOK5_BYTES, dot5);
