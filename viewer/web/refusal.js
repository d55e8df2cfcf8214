// SPDX-License-Identifier: Apache-2.0
// What cannot be done, said for people: what is wrong, and what they can do about it.

export class Refusal extends Error {
  constructor(what, remedy) {
    super(what);
    this.remedy = remedy;
  }
}
