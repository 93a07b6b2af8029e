/** The client of Poststream without React: requests, attach and re-attach, reduce, TaskStateManager. */
export * from "./api.ts";
export * from "./attach.ts";
export * from "./follower.ts";
export * from "./link.ts";
export * from "./manager.ts";
export * from "./problem.ts";
export * from "./reduce.ts";
export * from "./remaining.ts";
export * from "./snapshot.ts";
export * from "./view.ts";
export * from "./wire.ts";
export * from "./runner.ts";
