use halfpi_kernels::format::stock::I2sOrder;

/// How weights are loaded where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The order of I2_S codes, which their file does not say.
    pub i2s_order: I2sOrder,
    /// Whether dense ternary weights get two bits each in memory of their own, instead of being used in the file as they
    /// are. That takes a fifth more bytes for the products to read, and is faster on machines that are not short of
    /// bandwidth but of instructions.
    pub expand_trits: bool,
}
