/** The views of the panel, in the order of their tabs. A view is added here and nowhere else. */

import { catalogue } from "./catalogue";
import { jobs } from "./jobs";
import { shared } from "./shared";
import { staging } from "./staging";
import { storage } from "./storage";
import type { View } from "./view";

export const VIEWS: readonly View[] = [catalogue, staging, jobs, storage, shared];
