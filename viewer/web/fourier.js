// SPDX-License-Identifier: Apache-2.0
// The discrete Fourier transform of a power of two of numbers (Cooley and Tukey, 1965), in place and in doubles.

export class Fourier {
  constructor(size) {
    this.size = size;
    this.real = new Float64Array(size);
    this.imaginary = new Float64Array(size);
    this.cosines = Float64Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sines = Float64Array.from({ length: size / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / size));
    const bits = Math.log2(size);
    this.mirrored = Uint32Array.from({ length: size }, (_, i) => {
      let mirror = 0;
      for (let b = 0; b < bits; b++) mirror |= ((i >> b) & 1) << (bits - 1 - b);
      return mirror;
    });
  }

  // Squared sizes [size/2 + 1] of the spectrum of real numbers, zeros behind them; the array is used again next time.
  power(numbers) {
    const { real, imaginary, mirrored, size } = this;
    for (let i = 0; i < size; i++) real[mirrored[i]] = i < numbers.length ? numbers[i] : 0;
    imaginary.fill(0);
    this.#butterflies();
    this.powers ??= new Float64Array(size / 2 + 1);
    for (let i = 0; i <= size / 2; i++) this.powers[i] = real[i] * real[i] + imaginary[i] * imaginary[i];
    return this.powers;
  }

  // How numbers go with themselves `lag` places on, for every lag up to `longest` (Wiener and Khinchin).
  autocorrelation(numbers, longest) {
    const powers = this.power(numbers);
    const { real, imaginary, mirrored, size } = this;
    for (let i = 0; i < size; i++) real[mirrored[i]] = powers[Math.min(i, size - i)];
    imaginary.fill(0);
    this.#butterflies();
    return real.slice(0, longest + 1).map((value) => value / size);
  }

  #butterflies() {
    const { real, imaginary, cosines, sines, size } = this;
    for (let half = 1; half < size; half *= 2) {
      const stride = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const c = cosines[k * stride], s = sines[k * stride], a = start + k, b = a + half;
          const re = real[b] * c - imaginary[b] * s, im = real[b] * s + imaginary[b] * c;
          real[b] = real[a] - re;
          imaginary[b] = imaginary[a] - im;
          real[a] += re;
          imaginary[a] += im;
        }
      }
    }
  }
}
