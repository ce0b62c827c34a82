import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { PriorityQueue } from "./priority-queue.ts";

describe("a priority queue", () => {
  it("gives what is in it in order, whatever is pushed and popped meanwhile", () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer())), (steps) => {
        const queue = new PriorityQueue<number>((a, b) => a - b);
        const model: number[] = [];
        const pop = () => {
          assert.equal(queue.pop(), model.sort((a, b) => a - b).shift());
        };
        for (const step of steps) {
          if (step === null) pop();
          else {
            queue.push(step);
            model.push(step);
          }
        }
        while (model.length > 0) pop();
        assert.equal(queue.pop(), undefined);
      }),
    );
  });
});
